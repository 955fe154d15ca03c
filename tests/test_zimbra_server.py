"""The stand-in Zimbra: faithful to a published client (python-zimbra), and as strict as the real one."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
from pythonzimbra.communication import Communication
from pythonzimbra.tools import auth, preauth

from bridge.demo import sample
from bridge.demo.zimbra import ZimbraServer

MAIL = "urn:zimbraMail"
ACCOUNT = "urn:zimbraAccount"


# As python-zimbra sees it


class Client:
    """python-zimbra, logged in."""

    def __init__(self, url: str, encoding: str = "json") -> None:
        self.url = f"{url}/service/soap"
        self.encoding = encoding
        self.token: Any = None

    async def login(self, server: ZimbraServer, **more: Any) -> Any:
        """Log in by password, or as told."""
        given = {"use_password": True, "raise_on_error": True, **more}
        key = given.pop("key", server.account.password)
        self.token = await asyncio.to_thread(auth.authenticate, self.url, server.account.name, key, **given)
        return self.token

    async def ask(self, name: str, body: dict[str, Any], space: str = MAIL, *, context: Any = None) -> Any:
        """The answer's body, its lists of one flattened; a fault as an object of its code."""
        communication = Communication(self.url)
        request = communication.gen_request(request_type=self.encoding, token=self.token)
        if context:
            request.set_context_params(context)
        request.add_request(f"{name}Request", body, space)
        response = await asyncio.to_thread(communication.send_request, request)
        return (
            {"fault": response.get_fault_code()} if response.is_fault() else response.get_response()[f"{name}Response"]
        )


@asynccontextmanager
async def connected(server: ZimbraServer, encoding: str = "json") -> AsyncIterator[Client]:
    """A client that is logged in to the server."""
    async with server.serve() as url:
        client = Client(url, encoding)
        await client.login(server, request_type=encoding)
        yield client


@pytest.mark.parametrize("encoding", ["xml", "json"])
async def test_a_published_client_logs_in_by_password(encoding: str) -> None:
    async with connected(ZimbraServer(), encoding) as client:
        assert await client.ask("NoOp", {}) == {}


async def test_a_published_client_logs_in_by_preauth() -> None:
    server = ZimbraServer()
    server.accounts.key = "6b7ead4bd425836e8cf0079cd6c1a05acc127acd07c8ee4b61023e19250e929c"
    async with server.serve() as url:
        client = Client(url)
        assert await client.login(server, key=server.accounts.key, use_password=False)
        stale = int(time.time() - 600) * 1000
        with pytest.raises(Exception, match=r"account\.AUTH_FAILED"):
            await client.login(server, key=server.accounts.key, use_password=False, timestamp=stale)
        with pytest.raises(Exception, match=r"account\.AUTH_FAILED"):
            await client.login(server, key="another", use_password=False)


def test_preauth_is_signed_as_the_vendor_shows() -> None:
    key = "6b7ead4bd425836e8cf0079cd6c1a05acc127acd07c8ee4b61023e19250e929c"
    signed = preauth.create_preauth("john.doe@domain.com", key, "name", 0, 1135280708088)
    assert signed == "b248f6cfd027edd45c5369f8490125204772f844"


@pytest.mark.parametrize("encoding", ["xml", "json"])
async def test_a_published_client_is_told_of_a_wrong_password(encoding: str) -> None:
    server = ZimbraServer()
    async with server.serve() as url:
        with pytest.raises(Exception, match=r"\(account\.AUTH_FAILED\) authentication failed"):
            await Client(url).login(server, key="wrong", request_type=encoding)


async def test_a_published_client_reads_folders_and_contacts() -> None:
    server = ZimbraServer()
    folder = server.mailbox.make_folder("Kunden & Gäste")
    server.mailbox.put({"firstName": "Jörg", "workPhone": ["1", "2"], "workPhone3": "3"}, folder)
    async with connected(server) as client:
        tree = await client.ask("GetFolder", {"view": "contact", "tr": 1})
        names = [each["name"] for each in tree["folder"]["folder"]]
        assert names == ["Trash", "Contacts", "Emailed Contacts", "Kunden & Gäste"]
        told = await client.ask("GetContacts", {"l": str(folder), "sync": 1})
        assert told["cn"]["_attrs"] == {"firstName": "Jörg", "workPhone": ["1", "2"], "workPhone3": "3"}
        assert await client.ask("GetContacts", {"l": "7"}) == {}


async def test_a_published_client_reads_contacts_in_xml() -> None:
    server = ZimbraServer()
    id = server.mailbox.put({"firstName": "J & <k>", "notes": "two\nlines"})
    async with connected(server, "xml") as client:
        told = await client.ask("GetContacts", {"cn": {"id": str(id)}})
        assert (told["cn"]["id"], told["cn"]["a"]) == (
            str(id),
            [{"n": "firstName", "_content": "J & <k>"}, {"n": "notes", "_content": "two\nlines"}],
        )
        assert await client.ask("GetContacts", {"cn": {"id": "999"}}) == {"fault": "mail.NO_SUCH_CONTACT"}


async def test_a_published_client_makes_changes_moves_and_deletes() -> None:
    server = ZimbraServer()
    async with connected(server) as client:
        made = await client.ask("CreateContact", {"cn": {"a": [{"n": "firstName", "_content": "Jane"}]}})
        id = made["cn"]["id"]
        change = {"cn": {"id": id, "a": [{"n": "notes", "_content": "Hello"}]}, "replace": 0}
        assert (await client.ask("ModifyContact", change))["cn"]["_attrs"] == {"firstName": "Jane", "notes": "Hello"}
        await client.ask("ContactAction", {"action": {"id": id, "op": "trash"}})
        assert server.mailbox.contacts[int(id)].folder == 3
        await client.ask("ContactAction", {"action": {"id": id, "op": "delete"}})
        assert server.mailbox.contacts == {}


async def test_a_published_client_sends_a_batch_whose_faults_stand_beside_the_answers() -> None:
    server = ZimbraServer()
    for encoding in ("json", "xml"):
        async with connected(server, encoding) as client:
            communication = Communication(client.url)
            request = communication.gen_request(request_type=encoding, token=client.token, set_batch=True)
            request.enable_batch("continue")
            request.add_request("NoOpRequest", {}, MAIL)
            request.add_request("GetContactsRequest", {"cn": {"id": "999"}}, MAIL)
            response = await asyncio.to_thread(communication.send_request, request)
            assert (response.is_batch(), response.is_fault()) == (True, True)
            assert response.get_batch()["nameToId"]["NoOpResponse"] == ["1"]


async def test_a_published_client_follows_changes() -> None:
    server = ZimbraServer()
    ids = [server.mailbox.put({"firstName": f"P{n}"}) for n in range(5)]
    async with connected(server) as client:
        first = await client.ask("Sync", {"typed": 1})
        assert isinstance(first["token"], int)
        contacts = next(each for each in first["folder"]["folder"] if each["id"] == "7")
        assert contacts["cn"] == [{"ids": ",".join(map(str, ids))}]
        server.mailbox.update(*ids[:3], lastName="X")
        server.mailbox.delete(*ids[3:])
        told = await client.ask("Sync", {"token": str(first["token"]), "typed": 1, "changeLimit": 2, "deleteLimit": 1})
        assert [each["id"] for each in told["cn"]] == [str(ids[0]), str(ids[1])]
        assert (told["more"], told["deleted"]) == (True, {"ids": str(ids[3]), "cn": [{"ids": str(ids[3])}]})
        assert re.fullmatch(r"\d+-\d+:d\d+-\d+", told["token"])
        told = await client.ask("Sync", {"token": told["token"]})
        assert (told["cn"]["id"], told["deleted"]) == (str(ids[2]), {"ids": str(ids[4])})
        assert (await client.ask("Sync", {"token": told["token"]})).keys() == {"md", "token"}


async def test_a_published_client_searches_contacts_page_by_page() -> None:
    server = ZimbraServer()
    for n in range(1100):
        server.mailbox.put({"firstName": f"P{n}"})
    async with connected(server) as client:
        asked = {"types": "contact", "query": {"_content": "inid:7"}, "sortBy": "idAsc"}
        assert len((await client.ask("Search", dict(asked)))["cn"]) == 10
        page = await client.ask("Search", {**asked, "limit": 5000})
        assert (len(page["cn"]), page["more"]) == (1000, True)
        page = await client.ask("Search", {**asked, "limit": 5000, "offset": 1000})
        assert (len(page["cn"]), page["more"]) == (100, False)
        assert "cn" not in await client.ask("Search", {**asked, "query": {"_content": 'in:"Emailed Contacts"'}})


async def test_a_published_client_reads_a_share_by_its_owner_s_id() -> None:
    server = ZimbraServer()
    owner = server.accounts.add("owner@example.com").mailbox
    folder = owner.make_folder("Shared/Deep")
    id = owner.put({"firstName": "There"}, folder)
    link = server.mailbox.link("Theirs", owner, owner.folders[folder].parent)
    context = {"account": {"by": "id", "_content": owner.zid}}
    async with connected(server) as client:
        assert await client.ask("GetContacts", {"l": str(folder)}, context=context) == {"fault": "service.PERM_DENIED"}
        tree = await client.ask("GetFolder", {"tr": 1})
        assert tree["folder"]["link"][0]["broken"] is True
        owner.share(owner.folders[folder].parent, server.mailbox)
        tree = await client.ask("GetFolder", {"tr": 1})
        seen = tree["folder"]["link"][0]
        assert (seen["zid"], seen["rid"], seen["perm"]) == (owner.zid, owner.folders[folder].parent, "r")
        assert [each["id"] for each in seen["folder"]] == [f"{owner.zid}:{folder}"]
        for told in (
            await client.ask("GetContacts", {"l": str(folder)}, context=context),
            await client.ask("GetContacts", {"l": f"{owner.zid}:{folder}"}),
            await client.ask("GetContacts", {"cn": {"id": f"{owner.zid}:{id}"}}),
        ):
            assert (told["cn"]["id"], told["cn"]["l"]) == (f"{owner.zid}:{id}", f"{owner.zid}:{folder}")
        assert await client.ask("GetContacts", {"l": str(link)}) == {}
        owner.down = True
        assert await client.ask("GetContacts", {"l": str(folder)}, context=context) == {"fault": "service.PROXY_ERROR"}
        nobody = {"account": {"by": "name", "_content": "nobody@example.com"}}
        assert await client.ask("GetContacts", {"l": "7"}, context=nobody) == {"fault": "service.PERM_DENIED"}


async def test_a_published_client_makes_a_task_and_changes_it_by_its_uid() -> None:
    server = ZimbraServer()
    component = {"uid": "ours", "name": "Call", "or": {"a": "phones@example.com"}}
    message = {"m": {"l": "15", "su": {"_content": "Call"}, "inv": {"comp": [component]}}}
    async with connected(server) as client:
        made = [await client.ask("CreateTask", dict(message)) for _ in range(2)]
    assert made[0]["calItemId"] == made[1]["calItemId"]
    assert len(server.mailbox.tasks) == 1


async def test_a_published_client_reads_the_directory() -> None:
    server = ZimbraServer()
    server.gal.put("z:1", fullName="Anna", workPhone="312")
    server.gal.put("z:2", fullName="All", type="group")
    async with connected(server) as client:
        told = await client.ask("SyncGal", {}, ACCOUNT)
        assert [each["id"] for each in told["cn"]] == ["z:1", "z:2"]
        server.gal.delete("z:1")
        told = await client.ask("SyncGal", {"token": told["token"]}, ACCOUNT)
        assert (told["deleted"], "cn" in told) == ({"id": "z:1"}, False)
        server.gal.throttled = 1
        again = await client.ask("SyncGal", {"token": told["token"]}, ACCOUNT)
        assert again == {"token": told["token"], "throttled": True}
        found = await client.ask("SearchGal", {"type": "group", "name": {"_content": "."}}, ACCOUNT)
        assert (found["cn"]["id"], found["more"]) == ("z:2", False)


# As it is on the wire


async def posted(url: str, body: Any, **headers: str) -> tuple[int, str, str]:
    """Status, content type and text of an answer."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.post(f"{url}/service/soap", data=data, headers=headers) as response,
    ):
        return response.status, response.headers["Content-Type"], await response.text()


def envelope(name: str, body: dict[str, Any], space: str = MAIL, **context: Any) -> dict[str, Any]:
    """A request in JSON."""
    return {
        "Header": {"context": {"_jsns": "urn:zimbra", **context}},
        "Body": {f"{name}Request": {"_jsns": space, **body}},
    }


def login(password: str = "secret", **more: Any) -> dict[str, Any]:
    """AuthRequest's body."""
    return {"account": {"by": "name", "_content": "phones@example.com"}, "password": password, **more}


async def code(url: str, body: Any, **headers: str) -> str:
    """The code of the fault that answers, which has status 500."""
    status, _, said = await posted(url, body, **headers)
    assert status == 500
    return str(orjson.loads(said)["Body"]["Fault"]["Detail"]["Error"]["Code"])


async def token(url: str, **more: Any) -> dict[str, Any]:
    """What a login answers."""
    status, _, said = await posted(url, envelope("Auth", login(**more), ACCOUNT))
    assert status == 200
    answer: dict[str, Any] = orjson.loads(said)["Body"]["AuthResponse"]
    return answer


async def test_json_goes_as_javascript_and_faults_with_500() -> None:
    async with ZimbraServer().serve() as url:
        status, kind, _ = await posted(url, envelope("Auth", login(), ACCOUNT))
        assert (status, kind) == (200, "text/javascript; charset=utf-8")
        assert await code(url, envelope("NoOp", {})) == "service.AUTH_REQUIRED"
        shown = (await token(url))["authToken"][0]["_content"]
        assert await code(url, envelope("NoSuch", {}, authToken=shown)) == "service.UNKNOWN_DOCUMENT"
        assert await code(url, envelope("NoOp", {}, "urn:zimbraAccount", authToken=shown)) == "service.UNKNOWN_DOCUMENT"


@pytest.mark.parametrize(
    ("body", "start"),
    [
        ({"Header": {"context": {"authToken": "x"}}, "Body": {"NoOpRequest": {"_jsns": MAIL}}}, "<soap:Envelope"),
        (b"<broken", "<soap:Envelope"),
        (b'{"broken', '{"Header"'),
        (b"[]", '{"Header"'),
    ],
)
async def test_what_is_no_request_is_refused_in_its_own_spelling(body: Any, start: str) -> None:
    async with ZimbraServer().serve() as url:
        status, _, said = await posted(url, body)
        assert (status, said[: len(start)]) == (500, start)


async def test_a_text_within_a_text_and_a_bare_text_are_texts() -> None:
    async with ZimbraServer().serve() as url:
        shown = (await token(url))["authToken"][0]["_content"]
        for spelled in (shown, {"_content": shown}, {"_content": {"_content": shown}}):
            assert (await posted(url, envelope("NoOp", {}, authToken=spelled)))[0] == 200
        assert (await posted(url, envelope("NoOp", {}), Cookie=f"ZM_AUTH_TOKEN={shown}"))[0] == 200


async def test_a_dead_token_fails_even_a_login_unless_it_may_be_void() -> None:
    server = ZimbraServer()
    async with server.serve() as url:
        shown = (await token(url))["authToken"][0]["_content"]
        server.accounts.expire()
        assert await code(url, envelope("NoOp", {}, authToken=shown)) == "service.AUTH_EXPIRED"
        assert await code(url, envelope("Auth", login(), ACCOUNT, authToken=shown)) == "service.AUTH_EXPIRED"
        assert await code(url, envelope("Auth", login(), ACCOUNT), Cookie=f"ZM_AUTH_TOKEN={shown}") == (
            "service.AUTH_EXPIRED"
        )
        void = envelope("Auth", login(), ACCOUNT, authToken=shown, authTokenControl={"voidOnExpired": "1"})
        assert (await posted(url, void))[0] == 200


async def test_a_login_is_by_exactly_one_proof() -> None:
    async with ZimbraServer().serve() as url:
        both = login(preauth={"timestamp": 1, "expires": 0, "_content": "x"})
        assert await code(url, envelope("Auth", both, ACCOUNT)) == "service.INVALID_REQUEST"
        signed = {"account": "phones@example.com", "preauth": {"timestamp": 1, "_content": "x"}}
        assert await code(url, envelope("Auth", signed, ACCOUNT)) == "service.INVALID_REQUEST"


async def test_a_token_that_owes_a_second_factor_is_none() -> None:
    server = ZimbraServer()
    server.account.two_factor = True
    async with server.serve() as url:
        told = await token(url)
        assert told["twoFactorAuthRequired"] == {"_content": "true"}
        assert await code(url, envelope("NoOp", {}, authToken=told["authToken"])) == "service.AUTH_EXPIRED"


async def test_a_session_that_asked_for_it_shows_its_csrf_token() -> None:
    async with ZimbraServer().serve() as url:
        told = await token(url, csrfTokenSecured="1")
        shown, word = told["authToken"][0]["_content"], told["csrfToken"]["_content"]
        assert await code(url, envelope("NoOp", {}, authToken=shown)) == "service.AUTH_REQUIRED"
        assert (await posted(url, envelope("NoOp", {}, authToken=shown, csrfToken=word)))[0] == 200
        shown_so = {"X-Zimbra-Csrf-Token": word}
        assert (await posted(url, envelope("NoOp", {}, authToken=shown), **shown_so))[0] == 200


async def test_the_twelfth_request_after_eleven_failed_logins_is_banned() -> None:
    server = ZimbraServer()
    async with server.serve() as url:
        for _ in range(11):
            assert await code(url, envelope("Auth", login("wrong"), ACCOUNT)) == "account.AUTH_FAILED"
        assert (await posted(url, envelope("Auth", login(), ACCOUNT)))[0] == 503


async def test_a_locked_account_looks_like_a_wrong_password() -> None:
    server = ZimbraServer()
    server.accounts.lock = 3
    async with server.serve() as url:
        for password in ("wrong", "wrong", "wrong", "secret"):
            assert await code(url, envelope("Auth", login(password), ACCOUNT)) == "account.AUTH_FAILED"


async def asked(url: str, name: str, body: dict[str, Any], **context: Any) -> Callable[[], Any]:
    """A request with a login of its own."""
    shown = (await token(url))["authToken"][0]["_content"]
    return lambda: envelope(name, body, authToken=shown, **context)


async def test_a_change_since_the_token_is_a_conflict() -> None:
    server = ZimbraServer()
    id = server.mailbox.put({"firstName": "Jane"})
    before = server.mailbox.change
    change = {"cn": {"id": str(id), "a": [{"n": "notes", "_content": "x"}]}}
    async with server.serve() as url:
        request = await asked(url, "ModifyContact", change, change={"token": str(before), "type": "new"})
        assert (await posted(url, request()))[0] == 200
        assert await code(url, request()) == "mail.MODIFY_CONFLICT"


async def test_one_contact_that_is_gone_fails_the_whole_batch_and_is_named() -> None:
    server = ZimbraServer()
    ids = [server.mailbox.put({"firstName": "Jane"}) for _ in range(2)]
    server.mailbox.delete(ids[1])
    async with server.serve() as url:
        request = await asked(url, "GetContacts", {"cn": [{"id": str(id)} for id in ids]})
        _, _, said = await posted(url, request())
        error = orjson.loads(said)["Body"]["Fault"]["Detail"]["Error"]
        assert (error["Code"], error["a"]) == (
            "mail.NO_SUCH_CONTACT",
            [{"n": "itemId", "t": "IID", "_content": str(ids[1])}],
        )


@pytest.mark.parametrize(
    ("what", "said"),
    [("malformed", "service.INVALID_REQUEST"), ("old", "mail.MUST_RESYNC"), ("buried", "mail.MUST_RESYNC")],
)
async def test_a_token_may_be_of_no_use(what: str, said: str) -> None:
    server = ZimbraServer()
    server.mailbox.put({"firstName": "Jane"})
    async with server.serve() as url:
        begin = await asked(url, "Sync", {})
        at = server.mailbox.change
        await posted(url, begin())
        server.mailbox.put({"firstName": "John"})
        if what == "buried":
            server.mailbox.bury()
        tokens = {"malformed": "abc", "old": str(at - 1), "buried": str(at)}
        request = await asked(url, "Sync", {"token": tokens[what]})
        assert await code(url, request()) == said


async def test_a_token_ahead_of_the_server_is_answered_with_the_server_s_own() -> None:
    server = ZimbraServer()
    async with server.serve() as url:
        request = await asked(url, "Sync", {"token": "99999"})
        _, _, said = await posted(url, request())
        assert orjson.loads(said)["Body"]["SyncResponse"]["token"] == str(server.mailbox.change)


async def test_a_view_shows_trash_and_bare_paths_to_what_it_shows() -> None:
    server = ZimbraServer()
    server.mailbox.make_folder("Papers", view="document")
    server.mailbox.make_folder("Papers/Contacts of papers")
    async with server.serve() as url:
        request = await asked(url, "GetFolder", {"view": "contact"})
        _, _, said = await posted(url, request())
        root = orjson.loads(said)["Body"]["GetFolderResponse"]["folder"][0]
        assert [each["name"] for each in root["folder"]] == ["Trash", "Contacts", "Emailed Contacts", "Papers"]
        shell = root["folder"][-1]
        assert (shell.keys(), shell["folder"][0]["view"]) == ({"id", "name", "folder"}, "contact")


def test_the_sample_s_people_are_put_changed_and_binned() -> None:
    server = ZimbraServer()
    people = sample.people()
    for key, person in people.items():
        server.put_person(key, person)
    key, first = next(iter(people.items()))
    server.put_person(key, first.renamed("Reuter"))
    assert len(server.mailbox.contacts) == len(people)
    assert server.mailbox.contacts[257].attributes == {
        "firstName": "Marc",
        "lastName": "Reuter",
        "company": "Boulangerie Weber",
        "workPhone": "26 00 10 01",
        "mobilePhone": "621 000 001",
    }
    server.remove_person(key)
    assert server.mailbox.contacts[257].folder == 3
