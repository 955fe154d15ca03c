"""The stand-in Salesforce: simple-salesforce works with it, and what the real one refuses it refuses as that does."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import time
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import aiohttp
import jwt
import orjson
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from requests.adapters import HTTPAdapter
from simple_salesforce import exceptions
from simple_salesforce.api import Salesforce

from bridge.demo import sample
from bridge.demo.salesforce import Fault, Org, SalesforceServer
from bridge.demo.salesforce_faults import INSTEAD
from bridge.keys import sources

_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE = _KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC = (
    _KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)
NOON = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
USER = "bridge@example.com"
BY_CLIENT = {"consumer_key": "key", "consumer_secret": "secret", "domain": "example.my"}
BY_JWT = {"username": USER, "consumer_key": "key", "privatekey": PRIVATE}
BY_PASSWORD = {"username": USER, "password": "a&b<c>token", "consumer_key": "key", "consumer_secret": "secret"}
BY_SOAP = {"username": USER, "password": "a&b<c>", "security_token": "token"}


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json[0]["errorCode"])


Ask = Callable[..., Awaitable[Answer]]


class Loopback(HTTPAdapter):
    """Carries what is for Salesforce's hosts to the stand-in's ports."""

    def __init__(self, login_url: str) -> None:
        super().__init__()
        self._login = login_url

    def send(self, request: requests.PreparedRequest, *given: Any, **more: Any) -> requests.Response:
        asked = urllib.parse.urlsplit(str(request.url))
        there = self._login if asked.netloc.endswith(".salesforce.com") else f"http://{asked.netloc}"
        request.url = asked._replace(scheme="http", netloc=urllib.parse.urlsplit(there).netloc).geturl()
        request.headers["Host"] = asked.netloc
        return super().send(request, *given, **more)


def a_server(org: Org | None = None) -> SalesforceServer:
    return SalesforceServer(
        org or Org(),
        client_id="key",
        client_secret="secret",
        username=USER,
        password="a&b<c>",
        security_token="token",
        public_key=PUBLIC,
    )


def staffed(count: int = 7) -> tuple[Org, list[str]]:
    """An org with contacts at one account, one second after another."""
    org = Org()
    org.now = NOON
    account = org.put("Account", {"Name": "Acme", "Phone": "+352 26 00 10 01"})
    ids = []
    for n in range(count):
        org.now += timedelta(seconds=1)
        ids.append(org.put("Contact", {"FirstName": "Anna", "LastName": f"Nr {n}", "AccountId": account}))
    return org, ids


@asynccontextmanager
async def logged_in(server: SalesforceServer, **how: Any) -> AsyncIterator[Any]:
    """simple-salesforce at the server."""
    async with server.serve() as url:
        with requests.Session() as session:
            session.mount("https://", Loopback(url))
            yield await asyncio.to_thread(lambda: Salesforce(session=session, **(how or BY_CLIENT)))


@asynccontextmanager
async def asking(server: SalesforceServer, version: str = "61.0") -> AsyncIterator[Ask]:
    """REST without a client's good manners: `ask(method, path, json=, headers=, **query)`."""
    async with server.serve() as url, aiohttp.ClientSession() as session:

        async def ask(
            method: str, path: str, *, json: Any = None, headers: dict[str, str] | None = None, **query: str
        ) -> Answer:
            where = path if path.startswith("http") else f"{server.instance_url}/services/data/v{version}/{path}"
            where = f"{server.instance_url}{path}" if path.startswith("/") else where
            own = {"Authorization": f"Bearer {token}"} | (headers or {})
            async with session.request(method, where, json=json, headers=own, params=query) as answer:
                return Answer(answer.status, await answer.read(), answer.headers)

        form = {"grant_type": "client_credentials", "client_id": "key", "client_secret": "secret"}
        async with session.post(f"{url}/services/oauth2/token", data=form) as answer:
            token = (await answer.json())["access_token"]
        yield ask


async def posted(server: SalesforceServer, form: dict[str, str], **headers: str) -> Answer:
    """An answer of the token endpoint."""
    async with (
        server.serve() as url,
        aiohttp.ClientSession() as session,
        session.post(f"{url}/services/oauth2/token", data=form, headers=headers) as answer,
    ):
        return Answer(answer.status, await answer.read(), answer.headers)


def told_by(error: exceptions.SalesforceError) -> Any:
    """The body of an error, which simple-salesforce has parsed."""
    return error.content


async def names(ask: Ask, where: str) -> list[str]:
    """The last names that a condition finds."""
    answer = await ask("GET", "query", q=f"SELECT LastName FROM Contact {where}")
    assert answer.status == 200, answer.body
    return [record["LastName"] for record in answer.json["records"]]


@pytest.mark.parametrize("how", [BY_CLIENT, BY_JWT, BY_PASSWORD, BY_SOAP], ids=["client", "jwt", "password", "soap"])
async def test_simple_salesforce_logs_in_each_way_and_works_at_the_instance(how: dict[str, str]) -> None:
    org, _ = staffed()
    server = a_server(org)
    async with logged_in(server, **how) as client:
        found = await asyncio.to_thread(client.query, "SELECT COUNT() FROM Contact")
        assert f"http://{client.sf_instance}" == server.instance_url
    assert found["totalSize"] == 7


@pytest.mark.parametrize(
    ("how", "change", "code", "message"),
    [
        (BY_CLIENT | {"consumer_key": "other"}, {}, "invalid_client_id", "client identifier invalid"),
        (BY_CLIENT | {"consumer_secret": "other"}, {}, "invalid_client", "invalid client credentials"),
        (BY_CLIENT, {"run_as": False}, "invalid_grant", "no client credentials user enabled"),
        (BY_CLIENT, {"my_domain": False}, "invalid_grant", "request not supported on this domain"),
        (BY_CLIENT, {"run_as": False, "bare": True}, "invalid_grant", ""),
        (BY_JWT | {"domain": "test"}, {}, "invalid_grant", "Audience validation failed"),
        (BY_JWT | {"consumer_key": "other"}, {}, "invalid_client_id", "client identifier invalid"),
        (BY_PASSWORD | {"password": "a&b<c>"}, {}, "invalid_grant", "authentication failure"),
        (BY_PASSWORD, {"password_flow": False}, "invalid_grant", "authentication failure"),
    ],
)
async def test_a_login_that_is_refused_says_why(
    how: dict[str, str], change: dict[str, bool], code: str, message: str
) -> None:
    server = a_server()
    for name, value in change.items():
        setattr(server.login, name, value)
    with pytest.raises(exceptions.SalesforceAuthenticationFailed) as refused:
        async with logged_in(server, **how):
            pass
    assert (refused.value.code, refused.value.auth_message) == (code, message)


async def test_a_user_who_has_not_approved_the_app_is_told_so() -> None:
    server = a_server()
    server.login.approved = False
    with (
        pytest.warns(UserWarning, match="authorize this"),
        pytest.raises(exceptions.SalesforceAuthenticationFailed) as refused,
    ):
        async with logged_in(server, **BY_JWT):
            pass
    assert refused.value.auth_message == "user hasn't approved this consumer"


@pytest.mark.parametrize(
    ("exp", "error"),
    [(60, None), (-1, "expired authorization code"), (600, "expired authorization code")],
)
async def test_the_expiry_of_a_jwt_lies_within_five_minutes(exp: int, error: str | None) -> None:
    claims = {"iss": "key", "sub": USER, "aud": "https://login.salesforce.com", "exp": int(time.time()) + exp}
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}
    answer = await posted(a_server(), form | {"assertion": jwt.encode(claims, PRIVATE, algorithm="RS256")})
    assert (answer.status, answer.json.get("error_description")) == ((400, error) if error else (200, None))


async def test_an_expiry_in_milliseconds_and_a_foreign_signature_are_refused() -> None:
    claims = {"iss": "key", "sub": USER, "aud": "https://login.salesforce.com", "exp": int(time.time() * 1000)}
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}
    late = await posted(a_server(), form | {"assertion": jwt.encode(claims, PRIVATE, algorithm="RS256")})
    foreign = await posted(a_server(), form | {"assertion": jwt.encode(claims, "x" * 32, algorithm="HS256")})
    assert (late.json["error_description"], foreign.json["error_description"]) == (
        "expired authorization code",
        "invalid assertion",
    )


@pytest.mark.parametrize("host", ["login.salesforce.com", "test.salesforce.com"])
async def test_client_credentials_are_refused_on_a_login_host(host: str) -> None:
    form = {"grant_type": "client_credentials", "client_id": "key", "client_secret": "secret"}
    answer = await posted(a_server(), form, Host=host)
    want = {"error": "invalid_grant", "error_description": "request not supported on this domain"}
    assert (answer.status, answer.json) == (400, want)


async def test_a_grant_that_is_unknown_is_refused() -> None:
    answer = await posted(a_server(), {"grant_type": "refresh_token"})
    assert answer.json["error"] == "unsupported_grant_type"


async def test_a_token_names_the_org_and_the_user() -> None:
    org = Org()
    form = {"grant_type": "client_credentials", "client_id": "key", "client_secret": "secret"}
    told = (await posted(a_server(org), form)).json
    assert told["id"].split("/")[-2:] == [org.id, org.user]
    assert (told["token_type"], len(told["issued_at"])) == ("Bearer", 13)


async def test_ten_wrong_passwords_lock_the_user_out() -> None:
    server = a_server()
    form = {"grant_type": "password", "client_id": "key", "client_secret": "secret", "username": USER}
    async with server.serve() as url, aiohttp.ClientSession() as session:
        for password in ["wrong"] * 10 + ["a&b<c>token"]:
            async with session.post(f"{url}/services/oauth2/token", data=form | {"password": password}) as answer:
                told = await answer.json()
    assert (server.login.locked, told["error_description"]) == (True, "authentication failure")


async def soap(server: SalesforceServer, version: str, body: str = "", **headers: str) -> Answer:
    """An answer of SOAP login."""
    envelope = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns:u="urn:partner.soap.sforce.com"><e:Body>'
        f"<u:login><u:username>{USER}</u:username><u:password>a&amp;b&lt;c&gt;token</u:password></u:login>"
        "</e:Body></e:Envelope>"
    )
    given = headers or {"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": '""'}
    async with server.serve() as url, aiohttp.ClientSession() as session:
        where = f"{url}/services/Soap/u/{version}"
        async with session.post(where, data=(body or envelope).encode(), headers=given) as answer:
            return Answer(answer.status, await answer.read(), answer.headers)


@pytest.mark.parametrize(("version", "status"), [("30.0", 500), ("31.0", 200), ("64.0", 200), ("65.0", 500)])
async def test_soap_login_is_there_from_31_to_64(version: str, status: int) -> None:
    answer = await soap(a_server(), version)
    assert (answer.status, b"UNSUPPORTED_API_VERSION" in answer.body) == (status, status == 500)


async def test_soap_without_its_action_and_without_a_login_is_refused() -> None:
    no_action = await soap(a_server(), "59.0", **{"Content-Type": "text/xml"})
    no_login = await soap(a_server(), "59.0", '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"/>')
    assert (no_action.status, b"SOAPAction HTTP header missing" in no_action.body) == (500, True)
    assert (no_login.status, b"<faultcode>sf:INVALID_SESSION_ID" in no_login.body) == (500, True)


@pytest.mark.parametrize(
    ("token", "code"), [("other", "INVALID_LOGIN"), ("", "LOGIN_MUST_USE_SECURITY_TOKEN")], ids=["wrong", "missing"]
)
async def test_a_soap_login_that_fails_is_a_fault(token: str, code: str) -> None:
    with pytest.raises(exceptions.SalesforceAuthenticationFailed) as refused:
        async with logged_in(a_server(), **BY_SOAP | {"security_token": token}):
            pass
    want = "Invalid username, password, security token; or user locked out."
    assert (refused.value.code, refused.value.auth_message) == (code, want)


async def test_an_expired_password_logs_in_by_soap_and_is_good_for_nothing() -> None:
    server = a_server()
    server.login.password_expired = True
    answer = await soap(server, "59.0")
    assert (answer.status, b"<passwordExpired>true</passwordExpired>" in answer.body) == (200, True)
    token = answer.body.partition(b"<sessionId>")[2].partition(b"<")[0].decode()
    async with asking(server) as ask:
        after = await ask("GET", "limits", headers={"Authorization": f"Bearer {token}"})
    assert (after.status, after.code) == (401, "INVALID_SESSION_ID")


async def test_simple_salesforce_pages_through_a_query() -> None:
    org, ids = staffed()
    server = a_server(org)
    server.page_size = 3
    async with logged_in(server) as client:
        first = await asyncio.to_thread(client.query, "SELECT Id FROM Contact ORDER BY Id")
        whole = await asyncio.to_thread(client.query_all, "SELECT Id, Account.Name FROM Contact ORDER BY Id")
    assert (first["totalSize"], first["done"], len(first["records"])) == (7, False, 3)
    assert first["nextRecordsUrl"].startswith("/services/data/v59.0/query/01g")
    assert first["nextRecordsUrl"].endswith("-3")
    assert [record["Id"] for record in whole["records"]] == ids
    assert {record["Account"]["Name"] for record in whole["records"]} == {"Acme"}


async def test_a_session_that_ends_between_two_pages_is_renewed_and_the_locator_lives_on() -> None:
    org, ids = staffed()
    server = a_server(org)
    server.page_size = 4
    server.faults.append(Fault("/query/01g", "expired"))
    async with logged_in(server) as client:
        whole = await asyncio.to_thread(client.query_all, "SELECT Id FROM Contact ORDER BY Id")
    assert [record["Id"] for record in whole["records"]] == ids
    assert server.calls.count("POST /services/oauth2/token") == 2


async def test_simple_salesforce_sees_what_was_deleted() -> None:
    org, ids = staffed(2)
    org.delete(ids[0])
    org.now += timedelta(minutes=5)
    async with logged_in(a_server(org)) as client:
        seen = await asyncio.to_thread(client.query_all, "SELECT Id FROM Contact")
        every = await asyncio.to_thread(client.query_all, "SELECT Id, IsDeleted FROM Contact", include_deleted=True)
        log = await asyncio.to_thread(client.Contact.deleted, NOON, NOON + timedelta(minutes=9))
    assert [record["Id"] for record in seen["records"]] == [ids[1]]
    assert {record["Id"]: record["IsDeleted"] for record in every["records"]} == {ids[0]: True, ids[1]: False}
    assert log == {
        "deletedRecords": [{"id": ids[0], "deletedDate": "2026-03-02T12:00:32.000+0000"}],
        "earliestDateAvailable": "2026-02-15T12:05:32.000+0000",
        "latestDateCovered": "2026-03-02T12:05:00.000+0000",
    }


async def test_simple_salesforce_sees_what_was_updated() -> None:
    org, ids = staffed(2)
    org.now += timedelta(minutes=3)
    org.update(ids[1], {"Phone": "1"})
    org.now += timedelta(minutes=3)
    async with logged_in(a_server(org)) as client:
        start = NOON + timedelta(minutes=1)
        told = await asyncio.to_thread(client.Contact.updated, start, start + timedelta(hours=1))
    assert told == {"ids": [ids[1]], "latestDateCovered": "2026-03-02T12:06:00.000+0000"}


async def test_simple_salesforce_describes_and_reads_limits() -> None:
    org = Org()
    org.hide("Contact", "MobilePhone")
    org.hide("Lead")
    server = a_server(org)
    server.quota = 5000
    server.app = "bridge"
    async with logged_in(server) as client:
        described = await asyncio.to_thread(client.Contact.describe)
        every = await asyncio.to_thread(client.describe)
        limits = await asyncio.to_thread(client.limits)
        usage = client.api_usage
    fields = {field["name"]: field for field in described["fields"]}
    assert ("MobilePhone" in fields, fields["Phone"]["type"], fields["LastName"]["nillable"]) == (False, "phone", False)
    assert fields["AccountId"]["relationshipName"] == "Account"
    objects = [each["name"] for each in every["sobjects"]]
    assert ("Contact" in objects, "Lead" in objects) == (True, False)
    assert limits["DailyApiRequests"] == {"Max": 5000, "Remaining": 4996}
    assert usage["api-usage"] == (4, 5000)
    assert usage["per-app-api-usage"] == (4, 5000, "bridge")


async def test_simple_salesforce_creates_reads_changes_and_deletes() -> None:
    org, ids = staffed(1)
    fields = {"Subject": "Call", "CallObject": "uuid-1", "TaskSubtype": "Call", "WhoId": ids[0], "Status": "Completed"}
    async with logged_in(a_server(org)) as client:
        made = await asyncio.to_thread(client.Task.create, fields)
        task = await asyncio.to_thread(client.Task.get, made["id"])
        changed = await asyncio.to_thread(client.Task.update, made["id"], {"CallDurationInSeconds": 93})
        gone = await asyncio.to_thread(client.Task.delete, made["id"])
        with pytest.raises(exceptions.SalesforceResourceNotFound):
            await asyncio.to_thread(client.Task.get, made["id"])
        with pytest.raises(exceptions.SalesforceResourceNotFound) as again:
            await asyncio.to_thread(client.Task.delete, made["id"])
    account = org.get(ids[0])["AccountId"]
    assert (made["success"], made["errors"], len(made["id"])) == (True, [], 18)
    want = ("Call", ids[0], account, True, "Normal", org.user)
    assert tuple(task[n] for n in ("Subject", "WhoId", "AccountId", "IsClosed", "Priority", "OwnerId")) == want
    assert (changed, gone, org.get(made["id"])["CallDurationInSeconds"]) == (204, 204, 93)
    assert told_by(again.value)[0]["errorCode"] == "ENTITY_IS_DELETED"


async def test_simple_salesforce_upserts_by_an_external_id() -> None:
    org = Org()
    org.field("Task", "Bridge_Key__c", external=True)
    async with logged_in(a_server(org)) as client:
        answers = [
            await asyncio.to_thread(client.Task.upsert, "Bridge_Key__c/a%2Fb", {"Subject": subject}, raw_response=True)
            for subject in ("One", "Two")
        ]
        found = await asyncio.to_thread(client.Task.get_by_custom_id, "Bridge_Key__c", "A/B")
        org.put("Task", {"Subject": "Three", "Bridge_Key__c": "a/b"})
        with pytest.raises(exceptions.SalesforceMoreThanOneRecord) as several:
            await asyncio.to_thread(client.Task.upsert, "Bridge_Key__c/a%2Fb", {"Subject": "Four"})
    assert [answer.status_code for answer in answers] == [201, 200]
    assert [answer.json()["created"] for answer in answers] == [True, False]
    assert (found["Subject"], found["Id"]) == ("Two", answers[0].json()["id"])
    assert told_by(several.value) == [f"/services/data/v59.0/sobjects/Task/{id}" for id in org.ids("Task")]


async def test_a_case_gets_its_number_and_its_account() -> None:
    org, ids = staffed(1)
    async with asking(a_server(org)) as ask:
        made = await ask("POST", "sobjects/Case", json={"Subject": "Help", "ContactId": ids[0], "Origin": "Phone"})
        case = await ask("GET", f"sobjects/Case/{made.json['id']}", fields="CaseNumber,AccountId,Status,IsClosed")
    assert (made.status, made.headers["Location"]) == (201, f"/services/data/v61.0/sobjects/Case/{made.json['id']}")
    del case.json["attributes"]
    told = {key: value for key, value in case.json.items() if key not in ("attributes", "Id")}
    want = {"CaseNumber": "00001001", "AccountId": org.get(ids[0])["AccountId"], "Status": "New", "IsClosed": False}
    assert told == want


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("timeout", exceptions.SalesforceMalformedRequest),
        ("quota", exceptions.SalesforceRefusedRequest),
        ("xml", exceptions.SalesforceResourceNotFound),
        ("503", exceptions.SalesforceGeneralError),
        ("406", exceptions.SalesforceGeneralError),
        ("429", exceptions.SalesforceGeneralError),
    ],
)
async def test_simple_salesforce_knows_each_error(fault: str, error: type[Exception]) -> None:
    server = a_server()
    server.faults.append(Fault("/query", fault))
    async with logged_in(server) as client:
        with pytest.raises(error):
            await asyncio.to_thread(client.query, "SELECT Id FROM Contact")


async def test_simple_salesforce_reads_a_bulk_job_in_pages() -> None:
    org, ids = staffed()
    org.update(ids[0], {"Description": 'say "hi",\nthen go'})
    query = "SELECT Id, Description, Account.Name FROM Contact"
    async with logged_in(a_server(org)) as client:
        pages = await asyncio.to_thread(lambda: list(client.bulk2.Contact.query(query, max_records=3, wait=0)))
    rows = [list(csv.DictReader(io.StringIO(page))) for page in pages]
    assert [len(page) for page in rows] == [3, 3, 1]
    assert [row["Id"] for page in rows for row in page] == ids
    assert rows[0][0] == {"Id": ids[0], "Description": 'say "hi",\nthen go', "Account.Name": "Acme"}
    assert rows[0][1]["Description"] == ""


async def test_a_bulk_job_walks_its_states_and_is_aborted_and_deleted() -> None:
    org, _ = staffed()
    async with asking(a_server(org)) as ask:
        asked = {"operation": "query", "query": "SELECT Id FROM Contact"}
        made = (await ask("POST", "jobs/query", json=asked)).json
        where = f"jobs/query/{made['id']}"
        early = await ask("GET", f"{where}/results")
        states = [(await ask("GET", where)).json["state"] for _ in range(2)]
        done = (await ask("GET", where)).json
        other = await ask("GET", f"/services/data/v62.0/{where}/results")
        wrong = await ask("GET", f"{where}/results", locator="null")
        again = (await ask("POST", "jobs/query", json=asked)).json
        busy = await ask("DELETE", f"jobs/query/{again['id']}")
        aborted = await ask("PATCH", f"jobs/query/{again['id']}", json={"state": "Aborted"})
        gone = [(await ask(method, where)).status for method in ("DELETE", "GET")]
    assert (made["state"], made["object"], made["apiVersion"]) == ("UploadComplete", "Contact", 61.0)
    assert (early.status, states) == (400, ["InProgress", "JobComplete"])
    assert (done["jobType"], done["numberRecordsProcessed"]) == ("V2Query", 7)
    assert (other.status, wrong.code, busy.status) == (409, "INVALID_QUERY_LOCATOR", 400)
    assert (aborted.json["state"], gone) == ("Aborted", [204, 404])


async def test_pages_of_a_bulk_job_have_a_header_each_and_say_when_they_end() -> None:
    org, ids = staffed(3)
    server = a_server(org)
    server.bulk_page = 2
    asked = {"operation": "query", "columnDelimiter": "PIPE", "lineEnding": "CRLF"}
    query = "SELECT Id, IsDeleted, SystemModstamp, Phone FROM Contact"
    async with asking(server) as ask:
        job = (await ask("POST", "jobs/query", json=asked | {"query": query})).json["id"]
        for _ in range(2):
            await ask("GET", f"jobs/query/{job}")
        first = await ask("GET", f"jobs/query/{job}/results", maxRecords="50000")
        last = await ask("GET", f"jobs/query/{job}/results", locator=first.headers["Sforce-Locator"])
    lines = [answer.body.decode().split("\r\n") for answer in (first, last)]
    head = '"Id"|"IsDeleted"|"SystemModstamp"|"Phone"'
    assert lines[1] == [head, f'"{ids[2]}"|"false"|"2026-03-02T12:00:33.000Z"|""', ""]
    assert (lines[0][0], len(lines[0])) == (head, 4)
    assert base64.b64decode(first.headers["Sforce-Locator"] + "==") == b"2"
    assert [each.headers["Sforce-NumberOfRecords"] for each in (first, last)] == ["2", "1"]
    assert last.headers["Sforce-Locator"] == "null"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT COUNT() FROM Contact", "API_ERROR"),
        ("SELECT Id, MailingAddress FROM Contact", "API_ERROR"),
        ("SELECT Id FROM TaskStatus", "INVALIDENTITY"),
        ("SELECT Id, Nothing FROM Contact", "INVALID_FIELD"),
        ("SELECT Id FROM", "MALFORMED_QUERY"),
    ],
)
async def test_bulk_refuses_what_it_cannot_read(query: str, code: str) -> None:
    async with asking(a_server()) as ask:
        answer = await ask("POST", "jobs/query", json={"operation": "query", "query": query})
    assert (answer.status, answer.code) == (400, code)


async def test_a_bulk_job_fails_and_its_rows_have_nul_bytes_where_they_shall() -> None:
    org, _ = staffed()
    server = a_server(org)
    asked = {"operation": "query", "query": "SELECT Id, LastName FROM Contact"}
    async with asking(server) as ask:
        bad, good = [(await ask("POST", "jobs/query", json=asked)).json["id"] for _ in range(2)]
        server.faults += [Fault(f"GET /services/data/v61.0/jobs/query/{bad}", "failed"), Fault("/results", "nul")]
        failed = (await ask("GET", f"jobs/query/{bad}")).json
        for _ in range(2):
            await ask("GET", f"jobs/query/{good}")
        results = await ask("GET", f"jobs/query/{good}/results")
    assert (failed["state"], "errorMessage" in failed) == ("Failed", True)
    assert results.body.count(b"\x00") == 8


@pytest.mark.parametrize(
    ("where", "want"),
    [
        ("WHERE LastName = 'nr 1'", ["Nr 1"]),
        ("WHERE LastName != 'Nr 1' AND LastName <> 'x'", None),
        ("WHERE LastName LIKE 'nr _' ORDER BY LastName DESC LIMIT 2", ["Nr 3", "Nr 2"]),
        ("WHERE LastName LIKE 'Nr\\_%'", []),
        ("WHERE LastName IN ('Nr 0', 'Nr 3')", ["Nr 0", "Nr 3"]),
        ("WHERE LastName NOT IN ('Nr 0', 'Nr 3')", ["Nr 1", "Nr 2"]),
        ("WHERE Phone = null ORDER BY LastName", ["Nr 1", "Nr 2", "Nr 3"]),
        ("WHERE Phone != null", ["Nr 0"]),
        ("WHERE Phone = '+49 \\'30\\''", ["Nr 0"]),
        ("WHERE IsDeleted = false AND (LastName = 'Nr 0' OR LastName = 'Nr 1')", ["Nr 0", "Nr 1"]),
        ("WHERE Account.Name = 'ACME' AND LastName > 'Nr 1' ORDER BY LastName", ["Nr 2", "Nr 3"]),
        ("WHERE SystemModstamp >= 2026-03-02T12:00:32Z AND SystemModstamp < 2026-03-02T12:00:34Z", ["Nr 1", "Nr 2"]),
        ("WHERE SystemModstamp > 2026-03-02T13:00:33+01:00", ["Nr 3"]),
        (
            "WHERE (SystemModstamp = 2026-03-02T12:00:32Z AND Id > '0035g0000000001') "
            "OR SystemModstamp > 2026-03-02T12:00:32Z ORDER BY SystemModstamp, Id LIMIT 2",
            ["Nr 1", "Nr 2"],
        ),
        ("WHERE Id IN ('0035g0000000002', '0035g0000000004AAA')", ["Nr 1", "Nr 3"]),
        ("WHERE Id > '0035g0000000002AAA' ORDER BY Id DESC", ["Nr 3", "Nr 2"]),
        ("ORDER BY Phone DESC NULLS LAST, LastName DESC", ["Nr 0", "Nr 3", "Nr 2", "Nr 1"]),
        ("ORDER BY Phone ASC NULLS FIRST, LastName ASC LIMIT 1", ["Nr 1"]),
        ("where doNotCall = TRUE", []),
    ],
)
async def test_conditions_find_what_they_mean(where: str, want: list[str] | None) -> None:
    org, ids = staffed(4)
    later = org.now
    org.now = NOON + timedelta(seconds=1)
    org.update(ids[0], {"Phone": "+49 '30'"})
    org.now = later
    async with asking(a_server(org)) as ask:
        if want is None:
            answer = await ask("GET", "query", q=f"SELECT LastName FROM Contact {where}")
            assert (answer.status, answer.code) == (400, "MALFORMED_QUERY")
        else:
            assert await names(ask, where) == want


@pytest.mark.parametrize(
    "query",
    [
        "",
        "SELECT FROM Contact",
        "SELECT Id Contact",
        "SELECT * FROM Contact",
        "SELECT Id, id FROM Contact",
        "SELECT Id FROM Contact WHERE",
        "SELECT Id FROM Contact WHERE Name = 'a",
        "SELECT Id FROM Contact WHERE Name = 'a\\x'",
        "SELECT Id FROM Contact WHERE Name = 'a\nb'",
        'SELECT Id FROM Contact WHERE Name = "a"',
        "SELECT Id FROM Contact WHERE Name IN ()",
        "SELECT Id FROM Contact WHERE Name = 'a' AND Phone = 'b' OR Fax = 'c'",
        "SELECT Id FROM Contact WHERE Name = 'a' OR Phone = 'b' AND Fax = 'c'",
        "SELECT Id FROM Contact WHERE SystemModstamp > 2026-03-02T12:00:00",
        "SELECT Id FROM Contact WHERE SystemModstamp > 2026-13-02T12:00:00Z",
        "SELECT Id FROM Contact WHERE Birthdate = 2026-02-30",
        "SELECT Id FROM Contact WHERE (Name = 'a'",
        "SELECT Id FROM Contact LIMIT x",
        "SELECT Id FROM Contact LIMIT 5 OFFSET 10",
        "SELECT Id FROM Contact ORDER Name",
        "SELECT COUNT(Id) FROM Contact",
        "SELECT Id FROM Contact; DELETE",
        "SELECT Id FROM Contact ALL ROWS",
    ],
)
async def test_what_is_no_soql_is_malformed(query: str) -> None:
    async with asking(a_server()) as ask:
        answer = await ask("GET", "query", q=query)
    assert (answer.status, answer.code) == (400, "MALFORMED_QUERY")


@pytest.mark.parametrize(
    ("query", "code", "part"),
    [
        ("SELECT Id FROM Nothing", "INVALID_TYPE", "sObject type 'Nothing' is not supported"),
        ("SELECT Id, Parent.Name FROM Contact", "INVALID_FIELD", "Didn't understand relationship 'Parent'"),
        ("SELECT Id FROM Contact WHERE Description = 'x'", "INVALID_FIELD", "can not be filtered in a query call"),
        ("SELECT Id FROM Contact WHERE SystemModstamp > '2026-03-02T12:00:00Z'", "INVALID_FIELD", "type dateTime and"),
        ("SELECT Id FROM Contact WHERE IsDeleted = 'true'", "INVALID_FIELD", "should not be enclosed in quotes"),
        ("SELECT Id FROM Contact WHERE Phone = 4930", "INVALID_FIELD", "should be enclosed in quotes"),
        ("SELECT Id FROM Contact WHERE Id = 'abc'", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: abc"),
        ("SELECT Id FROM Contact WHERE Id LIKE '003%'", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator"),
        ("SELECT Id, IsDeleted FROM User", "INVALID_FIELD", "No such column 'IsDeleted' on entity 'User'"),
    ],
)
async def test_a_query_that_does_not_fit_the_org_is_refused(query: str, code: str, part: str) -> None:
    async with asking(a_server()) as ask:
        answer = await ask("GET", "query", q=query)
    assert (answer.status, answer.code, part in answer.json[0]["message"]) == (400, code, True)


async def test_a_hidden_field_is_an_unknown_column_named_where_it_stands() -> None:
    org, _ = staffed(1)
    org.hide("Contact", "MobilePhone")
    async with asking(a_server(org)) as ask:
        answer = await ask("GET", "query", q="SELECT Id, MobilePhone FROM Contact")
        org.show("Contact", "MobilePhone")
        after = await ask("GET", "query", q="SELECT Id, MobilePhone FROM Contact")
    want = (
        "\nSELECT Id, MobilePhone FROM Contact\n           ^\nERROR at Row:1:Column:12\n"
        "No such column 'MobilePhone' on entity 'Contact'."
    )
    assert answer.json[0]["message"].startswith(want)
    assert (answer.status, answer.code, after.status) == (400, "INVALID_FIELD", 200)


async def test_a_parent_that_is_missing_is_null_and_an_address_is_whole() -> None:
    org = Org()
    org.put("Contact", {"LastName": "Alone", "MailingCity": "Wiltz", "MailingCountry": "Luxembourg"})
    query = "SELECT LastName, Account.Name, Owner.Name, MailingAddress, OtherAddress FROM Contact"
    async with asking(a_server(org)) as ask:
        record = (await ask("GET", "query", q=query)).json["records"][0]
    address: dict[str, None] = dict.fromkeys(
        ("geocodeAccuracy", "latitude", "longitude", "postalCode", "state", "street")
    )
    assert record["MailingAddress"] == {"city": "Wiltz", "country": "Luxembourg", **address}
    assert (record["Account"], record["OtherAddress"]) == (None, None)
    assert record["Owner"]["Name"] == "Integration User"


@pytest.mark.parametrize(
    ("name", "fields", "status", "codes"),
    [
        ("Contact", {"FirstName": "A"}, 400, ["REQUIRED_FIELD_MISSING"]),
        ("Contact", {"LastName": "A", "Nothing": 1}, 400, ["INVALID_FIELD"]),
        ("Contact", {"LastName": "A", "Name": "B"}, 400, ["INVALID_FIELD_FOR_INSERT_UPDATE"]),
        (
            "Contact",
            {"LastName": "A", "SystemModstamp": "2026-03-02T12:00:00Z"},
            400,
            ["INVALID_FIELD_FOR_INSERT_UPDATE"],
        ),
        ("Contact", {"LastName": "A" * 81, "Email": "none"}, 400, ["STRING_TOO_LONG", "INVALID_EMAIL_ADDRESS"]),
        ("Contact", {"LastName": "A", "AccountId": "x"}, 400, ["MALFORMED_ID"]),
        ("Contact", {"LastName": "A", "AccountId": "0035g0000000001"}, 400, ["FIELD_INTEGRITY_EXCEPTION"]),
        ("Contact", {"LastName": "A", "AccountId": "0015g0000000009"}, 400, ["INVALID_CROSS_REFERENCE_KEY"]),
        ("Contact", {"LastName": {"a": 1}}, 400, ["JSON_PARSER_ERROR"]),
        ("Task", {"CallType": "Sideways"}, 400, ["INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"]),
        ("Task", {"Status": "Done"}, 400, ["INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"]),
        ("Task", {"CallDurationInSeconds": "93"}, 400, ["JSON_PARSER_ERROR"]),
        ("Task", {"ActivityDate": "2026-03-02T12:00:00Z"}, 400, ["JSON_PARSER_ERROR"]),
        ("Task", {"IsClosed": True}, 400, ["INVALID_FIELD_FOR_INSERT_UPDATE"]),
        ("Task", {"Subject": "S" * 256}, 400, ["STRING_TOO_LONG"]),
        ("TaskStatus", {"ApiName": "New"}, 400, ["CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"]),
        ("Nothing", {}, 404, ["NOT_FOUND"]),
    ],
)
async def test_a_record_that_is_wrong_is_not_made(
    name: str, fields: dict[str, Any], status: int, codes: list[str]
) -> None:
    org = Org()
    async with asking(a_server(org)) as ask:
        answer = await ask("POST", f"sobjects/{name}", json=fields)
    assert (answer.status, [each["errorCode"] for each in answer.json]) == (status, codes)
    assert (org.ids("Contact"), org.ids("Task")) == ([], [])


async def test_missing_fields_are_named() -> None:
    async with asking(a_server()) as ask:
        answer = await ask("POST", "sobjects/Lead/", json={"FirstName": "A"})
    message = "Required fields are missing: [LastName, Company]"
    want: dict[str, Any] = {
        "message": message,
        "errorCode": "REQUIRED_FIELD_MISSING",
        "fields": ["LastName", "Company"],
    }
    assert answer.json == [want]


async def test_a_task_with_a_lead_has_no_related_record() -> None:
    org = Org()
    lead, account = org.put("Lead", {"LastName": "A", "Company": "B"}), org.put("Account", {"Name": "C"})
    async with asking(a_server(org)) as ask:
        both = await ask("POST", "sobjects/Task", json={"Subject": "Call", "WhoId": lead, "WhatId": account})
        one = await ask("POST", "sobjects/Task", json={"Subject": "Call", "WhoId": lead[:15]})
    assert (both.code, one.status, org.get(one.json["id"])["WhoId"]) == ("FIELD_INTEGRITY_EXCEPTION", 201, lead)


async def test_the_subtype_of_a_task_is_set_once_and_its_owner_is_active() -> None:
    org = Org()
    gone = org.put("User", {"LastName": "Gone", "IsActive": False})
    task = org.put("Task", {"Subject": "Call"})
    async with asking(a_server(org)) as ask:
        subtype = await ask("PATCH", f"sobjects/Task/{task}", json={"TaskSubtype": "Call"})
        owner = await ask("PATCH", f"sobjects/Task/{task}", json={"OwnerId": gone})
    assert (subtype.code, owner.code) == ("INVALID_FIELD_FOR_INSERT_UPDATE", "INACTIVE_OWNER_OR_USER")


async def test_every_validation_rule_that_is_broken_is_told() -> None:
    org = Org()
    org.rule("Account", "no ACME accounts", lambda account: "ACME" in account["Name"])
    org.rule("Account", "no 123 phone", lambda account: "123" in account["Phone"])
    async with asking(a_server(org)) as ask:
        answer = await ask("POST", "sobjects/Account", json={"Name": "ACME", "Phone": "123"})
    told = [(each["errorCode"], each["message"], each["fields"]) for each in answer.json]
    code = "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    assert told == [(code, "no ACME accounts", []), (code, "no 123 phone", [])]


async def test_a_key_that_is_unique_comes_once_and_a_field_that_is_no_key_finds_nothing() -> None:
    org = Org()
    org.field("Case", "Bridge_Key__c", external=True, unique=True)
    org.put("Case", {"Subject": "One", "Bridge_Key__c": "k"})
    async with asking(a_server(org)) as ask:
        double = await ask("POST", "sobjects/Case", json={"Subject": "Two", "Bridge_Key__c": "K"})
        no_key = await ask("PATCH", "sobjects/Case/Subject/One", json={})
        named = await ask("PATCH", "sobjects/Case/Bridge_Key__c/k", json={"Bridge_Key__c": "k"})
    assert (double.code, no_key.status, no_key.code) == ("DUPLICATE_VALUE", 404, "NOT_FOUND")
    assert (named.status, named.code) == (400, "INVALID_FIELD")


async def test_the_statuses_of_an_org_are_its_own() -> None:
    org = Org()
    org.picklist("Task", "Status", ["Offen", "Erledigt*"])
    async with asking(a_server(org)) as ask:
        rows = await ask("GET", "query", q="SELECT ApiName, IsClosed FROM TaskStatus ORDER BY SortOrder")
        old = await ask("POST", "sobjects/Task", json={"Subject": "Call", "Status": "Completed"})
        made = await ask("POST", "sobjects/Task", json={"Subject": "Call", "Status": "Erledigt"})
    assert [(row["ApiName"], row["IsClosed"]) for row in rows.json["records"]] == [("Offen", False), ("Erledigt", True)]
    assert (old.code, org.get(made.json["id"])["IsClosed"]) == ("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", True)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-03-02T12:00:00", "2026-03-02T13:00:00Z"),
        ("2026-03-02T12:00:01Z", "2026-03-02T12:00:59Z"),
        ("2026-03-02T13:00:00Z", "2026-03-02T12:00:00Z"),
        ("2025-12-01T00:00:00Z", "2026-03-02T12:00:00Z"),
        ("2026-03-02T12:00:00 00:00", "2026-03-02T13:00:00Z"),
    ],
)
async def test_windows_of_deletions_that_are_no_windows_are_refused(start: str, end: str) -> None:
    org, _ = staffed()
    async with asking(a_server(org)) as ask:
        answer = await ask("GET", "sobjects/Contact/deleted", start=start, end=end)
    assert (answer.status, answer.code) == (400, "INVALID_REPLICATION_DATE")


async def test_the_log_of_deletions_tells_whole_minutes_and_what_it_covers() -> None:
    org, ids = staffed(3)
    org.delete(ids[0])
    org.now += timedelta(minutes=2)
    org.delete(ids[1], hard=True)
    org.delete(ids[2])
    window = {"start": "2026-03-02T12:00:59Z", "end": "2026-03-02T12:09:00+00:00"}
    async with asking(a_server(org)) as ask:
        first = (await ask("GET", "sobjects/Contact/deleted/", **window)).json
        org.now += timedelta(minutes=1)
        org.undelete(ids[2])
        second = (await ask("GET", "sobjects/Contact/deleted/", **window)).json
        org.lag = 120
        third = (await ask("GET", "sobjects/Contact/deleted/", **window)).json
    told = [[entry["id"] for entry in answer["deletedRecords"]] for answer in (first, second, third)]
    assert told == [[ids[0]], [ids[0], ids[1]], [ids[0]]]
    covered = [answer["latestDateCovered"][11:16] for answer in (first, second, third)]
    assert covered == ["12:02", "12:03", "12:01"]


async def test_a_log_that_was_purged_says_since_when_it_knows() -> None:
    org, _ = staffed()
    org.log_began = NOON - timedelta(hours=1)
    async with asking(a_server(org)) as ask:
        window = {"start": "2026-03-01T12:00:00Z", "end": "2026-03-02T12:00:00Z"}
        answer = await ask("GET", "sobjects/Contact/deleted", **window)
    assert answer.json["earliestDateAvailable"] == "2026-03-02T11:00:30.000+0000"


async def test_the_loser_of_a_merge_names_its_master_and_its_tasks_move() -> None:
    org, ids = staffed(2)
    task = org.put("Task", {"Subject": "Call", "WhoId": ids[1]})
    org.merge(ids[0], ids[1])
    query = "SELECT Id, MasterRecordId FROM Contact WHERE IsDeleted = true"
    async with asking(a_server(org)) as ask:
        records = (await ask("GET", "queryAll", q=query)).json["records"]
    assert [(record["Id"], record["MasterRecordId"]) for record in records] == [(ids[1], ids[0])]
    assert org.get(task)["WhoId"] == ids[0]


def test_a_change_of_an_account_moves_no_stamp_of_its_contacts() -> None:
    org, ids = staffed(1)
    before = org.get(ids[0])
    org.now += timedelta(hours=1)
    org.update(before["AccountId"], {"Name": "New"})
    assert org.get(ids[0]) == before


def test_contacts_go_with_their_account_and_come_back_with_it() -> None:
    org, ids = staffed(2)
    account = org.get(ids[0])["AccountId"]
    org.delete(account)
    assert org.ids("Contact") == []
    org.undelete(account)
    assert org.ids("Contact") == ids


def test_ids_that_differ_by_case_alone_are_two_records() -> None:
    org, ids = staffed(40)
    short = [id[:15] for id in ids]
    assert (len(set(short)), len({id.lower() for id in short}) < 40, len({id.lower() for id in ids})) == (40, True, 40)
    assert org.get(short[39])["LastName"] == "Nr 39"


def test_a_field_that_an_object_lacks_is_no_field() -> None:
    with pytest.raises(ValueError, match="Contact has no field Nothing"):
        Org().put("Contact", {"LastName": "A", "Nothing": 1})


async def test_the_login_host_serves_no_rest() -> None:
    server = a_server()
    async with (
        server.serve() as url,
        aiohttp.ClientSession() as session,
        session.get(f"{url}/services/data/v61.0/limits") as there,
        session.get(f"{server.instance_url}/services/data/v61.0/limits") as here,
    ):
        assert (there.status, here.status) == (404, 401)


@pytest.mark.parametrize(
    ("version", "status", "code"),
    [
        ("v30.0", 410, "UNSUPPORTED_API_VERSION"),
        ("v7.0", 410, "UNSUPPORTED_API_VERSION"),
        ("v99.0", 404, "NOT_FOUND"),
        ("61.0", 404, "NOT_FOUND"),
        ("v61", 404, "NOT_FOUND"),
    ],
)
async def test_versions_that_are_retired_or_unknown_are_refused(version: str, status: int, code: str) -> None:
    async with asking(a_server()) as ask:
        answer = await ask("GET", f"/services/data/{version}/limits")
    assert (answer.status, answer.code) == (status, code)


async def test_the_versions_are_listed() -> None:
    async with asking(a_server()) as ask:
        answer = await ask("GET", "/services/data/")
    assert {"label": "v61.0", "url": "/services/data/v61.0", "version": "61.0"} in answer.json


@pytest.mark.parametrize(
    ("header", "code"), [("Bearer nobody", "INVALID_SESSION_ID"), ("Basic abc", "INVALID_AUTH_HEADER")]
)
async def test_without_a_session_nothing_is_told(header: str, code: str) -> None:
    async with asking(a_server()) as ask:
        answer = await ask("GET", "limits", headers={"Authorization": header})
    assert (answer.status, answer.code) == (401, code)


async def test_a_session_that_nobody_uses_ends_and_one_in_use_does_not() -> None:
    server = a_server()
    async with asking(server) as ask:
        server.login.lifetime = 0.3
        used = []
        for _ in range(3):
            await asyncio.sleep(0.15)
            used.append((await ask("GET", "limits")).status)
        await asyncio.sleep(0.35)
        late = await ask("GET", "limits")
        server.login.lifetime = 7200
        server.expire()
        ended = await ask("GET", "limits")
    assert (used, late.status, ended.code) == ([200] * 3, 401, "INVALID_SESSION_ID")


async def test_the_day_s_calls_are_counted_and_end() -> None:
    server = a_server()
    server.quota = 3
    async with asking(server) as ask:
        answers = [await ask("GET", "limits") for _ in range(3)]
    assert [answer.headers["Sforce-Limit-Info"] for answer in answers] == [f"api-usage={n}/3" for n in (2, 3, 3)]
    want = [{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]
    assert (answers[2].status, answers[2].json) == (403, want)


async def test_locators_are_few_and_do_not_live_for_ever() -> None:
    org, _ = staffed()
    server = a_server(org)
    server.page_size = 3
    server.cursors = 2
    async with asking(server) as ask:
        pages = [(await ask("GET", "query", q="SELECT Id FROM Contact")).json["nextRecordsUrl"] for _ in range(3)]
        answers = [await ask("GET", page) for page in pages]
        whole = await ask("GET", answers[1].json["nextRecordsUrl"])
        beyond = await ask("GET", pages[1].replace("-3", "-70"))
        server.cursor_life = 0
        late = await ask("GET", pages[2])
    assert [answer.status for answer in answers] == [400, 200, 200]
    assert (whole.json["done"], "nextRecordsUrl" in whole.json, len(whole.json["records"])) == (True, False, 1)
    assert [each.code for each in (answers[0], beyond, late)] == ["INVALID_QUERY_LOCATOR"] * 3


async def test_a_locator_outlives_the_session_that_opened_it() -> None:
    org, ids = staffed()
    server = a_server(org)
    server.page_size = 4
    async with logged_in(server) as client:
        first = await asyncio.to_thread(client.query, "SELECT Id FROM Contact ORDER BY Id")
        server.expire()
        second = await asyncio.to_thread(client.query_more, first["nextRecordsUrl"], True)
    assert [record["Id"] for record in first["records"] + second["records"]] == ids


async def test_what_was_found_stays_while_others_change_it() -> None:
    org, ids = staffed(4)
    server = a_server(org)
    server.page_size = 2
    async with asking(server) as ask:
        first = (await ask("GET", "query", q="SELECT Id, LastName FROM Contact ORDER BY SystemModstamp, Id")).json
        org.update(ids[0], {"LastName": "Later"})
        org.delete(ids[3], hard=True)
        second = (await ask("GET", first["nextRecordsUrl"])).json
    assert [record["LastName"] for record in first["records"] + second["records"]] == ["Nr 0", "Nr 1", "Nr 2", "Nr 3"]


async def test_a_batch_size_is_a_hint_between_200_and_2000() -> None:
    org, _ = staffed(300)
    async with asking(a_server(org)) as ask:
        sizes = [
            len((await ask("GET", "query", q="SELECT Id FROM Contact", headers=header)).json["records"])
            for header in ({}, {"Sforce-Query-Options": "batchSize=250"}, {"Sforce-Query-Options": "batchSize=10"})
        ]
    assert sizes == [300, 250, 200]


async def test_a_row_may_appear_below_the_mark() -> None:
    org, _ = staffed(2)
    org.put("Contact", {"LastName": "Late", "SystemModstamp": NOON})
    async with asking(a_server(org)) as ask:
        assert await names(ask, "ORDER BY SystemModstamp, Id") == ["Late", "Nr 0", "Nr 1"]


async def test_automation_moves_one_stamp_only() -> None:
    org, ids = staffed(1)
    org.now += timedelta(minutes=1)
    org.touch(ids[0])
    row = org.get(ids[0])
    assert (row["LastModifiedDate"][14:19], row["SystemModstamp"][14:19]) == ("00:31", "01:31")


async def test_the_date_of_an_answer_is_the_org_s() -> None:
    org, _ = staffed(0)
    async with asking(a_server(org)) as ask:
        answer = await ask("GET", "limits")
    assert answer.headers["Date"] == "Mon, 02 Mar 2026 12:00:30 GMT"


@pytest.mark.parametrize("kind", sorted(INSTEAD))
async def test_a_fault_takes_the_place_of_the_answer_as_often_as_asked(kind: str) -> None:
    org, _ = staffed()
    server = a_server(org)
    server.faults.append(Fault("/sobjects/Task", kind, times=2, after=1))
    async with asking(server) as ask:
        answers = [await ask("POST", "sobjects/Task", json={"Subject": "Call"}) for _ in range(4)]
    want = INSTEAD[kind]
    assert [answer.status for answer in answers] == [201, want.status, want.status, 201]
    assert (answers[1].body, len(org.ids("Task"))) == (want.body, 2)


async def test_a_busy_server_says_when_to_come_back() -> None:
    server = a_server()
    server.faults.append(Fault("/limits", "503", retry_after=7))
    async with asking(server) as ask:
        answer = await ask("GET", "limits")
    assert (answer.status, answer.headers["Retry-After"], answer.headers["Content-Type"]) == (
        503,
        "7",
        "text/html;charset=UTF-8",
    )


@pytest.mark.parametrize(("kind", "made"), [("lost", 1), ("cut", 1), ("drop", 0), ("hang", 0)])
async def test_a_connection_that_ends_has_made_the_record_or_not(kind: str, made: int) -> None:
    org = Org()
    server = a_server(org)
    server.faults.append(Fault("POST /services/data/v61.0/sobjects", kind, seconds=0.1))
    async with asking(server) as ask:
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
            await ask("POST", "sobjects/Task", json={"Subject": "Call"})
    assert len(org.ids("Task")) == made


async def test_a_page_of_a_bulk_job_that_breaks_off_is_there_when_it_is_asked_for_again() -> None:
    org, _ = staffed(50)
    server = a_server(org)
    server.polls = 1
    server.faults.append(Fault("/results", "cut"))
    async with asking(server) as ask:
        asked = {"operation": "query", "query": "SELECT Id FROM Contact"}
        where = f"jobs/query/{(await ask('POST', 'jobs/query', json=asked)).json['id']}"
        await ask("GET", where)
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask("GET", f"{where}/results")
        again = await ask("GET", f"{where}/results")
    assert again.body.count(b"\n") == 51


async def test_a_truncated_answer_is_whole_for_http_and_half_of_itself() -> None:
    org, _ = staffed()
    server = a_server(org)
    server.faults.append(Fault("/query", "truncated"))
    async with asking(server) as ask:
        half, whole = [await ask("GET", "query", q="SELECT Id FROM Contact") for _ in range(2)]
    assert (half.status, half.body) == (200, whole.body[: len(whole.body) // 2])


async def test_a_path_beyond_all_measure_is_refused_without_json() -> None:
    async with asking(a_server()) as ask:
        answer = await ask("GET", "query", q="SELECT Id FROM Contact" + " " * 20_000)
    assert (answer.status, answer.headers["Content-Type"]) == (414, "text/html;charset=UTF-8")


async def test_a_body_that_is_no_json_object_is_refused() -> None:
    async with asking(a_server()) as ask:
        form = await ask("POST", "sobjects/Task", headers={"Content-Type": "text/plain"})
        bad = await ask("POST", "sobjects/Task", json=[1])
        method = await ask("PUT", "query")
    assert [(each.status, each.code) for each in (form, bad, method)] == [
        (415, "UNSUPPORTED_MEDIA_TYPE"),
        (400, "JSON_PARSER_ERROR"),
        (405, "METHOD_NOT_ALLOWED"),
    ]


async def test_the_older_bulk_api_answers_in_its_own_way() -> None:
    async with asking(a_server()) as ask:
        old, new = [await ask("POST", f"/services/async/{version}/job") for version in ("30.0", "59.0")]
    assert (old.json["exceptionCode"], new.json["exceptionCode"]) == ("InvalidVersion", "InvalidSessionId")


async def test_who_is_logged_in_is_told_and_a_session_may_be_revoked() -> None:
    org = Org()
    async with asking(a_server(org)) as ask:
        told = (await ask("GET", "/services/oauth2/userinfo")).json
    assert (told["preferred_username"], told["user_id"], told["organization_id"]) == (USER, org.user, org.id)


async def test_the_people_of_the_demonstration_are_contacts_with_accounts() -> None:
    org = Org()
    server = a_server(org)
    for key, person in sample.people().items():
        server.put_person(key, person)
    server.put_person("001", sample.people()["001"].renamed("Weber-Thill"))
    server.remove_person("002")
    async with asking(server) as ask:
        query = "SELECT Name, Account.Name, Phone, OtherPhone, MobilePhone FROM Contact ORDER BY Id"
        records = (await ask("GET", "query", q=query)).json["records"]
    people = {record["Name"]: record for record in records}
    assert len(records) == len(sample.people()) - 1
    assert ("Marc Weber-Thill" in people, "Josette Thill" in people) == (True, False)
    pit, hotel = people["Pit Hansen"], people["Accueil Parc Hôtel"]
    assert (pit["Phone"], pit["OtherPhone"], pit["Account"]["Name"]) == (
        "27 00 10 49",
        "27 00 10 50",
        hotel["Account"]["Name"],
    )


def test_the_table_of_the_server_is_a_source_s() -> None:
    keys = sources.Salesforce.model_validate(a_server().table("http://127.0.0.1:1"))
    assert (keys.login, keys.client_id, keys.client_secret[:]) == ("client-credentials", "key", "secret")


def test_a_fault_that_there_is_not_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="there is no fault nothing"):
        Fault("/query", "nothing")
