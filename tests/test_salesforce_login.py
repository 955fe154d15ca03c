"""Logging in to Salesforce: the four ways, what each no means, and where the token goes."""

from __future__ import annotations

import time
import urllib.parse

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from salesforce_orgs import LOGIN, SECRETS, opened, scripted, served

from bridge import errors, keys
from bridge.demo.salesforce import Fault
from bridge.sources.salesforce import grants, soql

_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE = _KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC = (
    _KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)
JWT = {"login": "jwt", "private_key": PRIVATE, "username": LOGIN["username"]}
WAYS = {
    "client-credentials": {},
    "jwt": JWT,
    "password": {"login": "password", **LOGIN},
    "soap": {"login": "soap", **LOGIN},
}


async def refused(url: str, **more: object) -> errors.BridgeError:
    """What a check that fails says; none of its words is a secret."""
    async with opened(url, **more) as made:
        with pytest.raises((errors.Denied, errors.Unavailable)) as caught:
            await made.check()
    for secret in (SECRETS["client_secret"], LOGIN["password"], LOGIN["security_token"], PRIVATE, "Bearer"):
        assert secret not in f"{caught.value}"
    return caught.value


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_to_log_in_reads_at_the_instance_and_nowhere_else(way: str) -> None:
    async with served(**LOGIN, public_key=PUBLIC) as crm:
        mirror = await crm.run(**WAYS[way])
        assert mirror.names == ["Anna Müller", "Leo Lead"]
        assert mirror.cursor is not None
        assert (mirror.cursor["instance"], mirror.cursor["user"]) == (crm.server.instance_url, crm.org.user)
        logins = [line for line in crm.server.calls if "/oauth2/" in line or "/Soap/" in line]
        assert logins == crm.server.calls[:1]


@pytest.mark.parametrize(("asked", "sent"), [("61.0", "61.0"), ("66.0", "64.0")])
async def test_soap_logs_in_by_its_last_version_at_most(asked: str, sent: str) -> None:
    async with served(**LOGIN) as crm, opened(crm.url, login="soap", api_version=asked, **LOGIN) as made:
        await made.check()
        assert crm.server.calls[0] == f"POST /services/Soap/u/{sent}"
        assert f"/services/data/v{asked}/" in crm.server.calls[1]


async def test_an_expired_password_is_a_refusal_though_the_login_succeeds() -> None:
    async with served(**LOGIN) as crm:
        crm.server.login.password_expired = True
        fault = await refused(crm.url, login="soap", **LOGIN)
        assert (type(fault), str(fault)) == (errors.Denied, "127.0.0.1: the password has expired: right is a new one")
        assert len(crm.server.calls) == 1


async def test_the_security_token_is_part_of_the_password() -> None:
    async with served(**LOGIN) as crm:
        given = {**LOGIN, "security_token": ""}
        assert "right is security_token" in str(await refused(crm.url, login="soap", **given))
        assert "security_token is wrong" in str(await refused(crm.url, login="password", **given))


async def test_a_wrong_password_is_tried_once() -> None:
    async with served(**LOGIN) as crm, opened(crm.url, login="soap", **{**LOGIN, "password": "wrong"}) as made:
        for _ in range(2):
            with pytest.raises(errors.Denied, match=r"\(INVALID_LOGIN\)"):
                await made.check()
            with pytest.raises(errors.Denied, match=r"\(INVALID_LOGIN\)"):
                await made.users()
        assert crm.server.calls == ["POST /services/Soap/u/61.0"] * 2


@pytest.mark.parametrize(
    ("set_up", "way", "said"),
    [
        ({"my_domain": False}, "client-credentials", "this host takes no client credentials: right is url = your My"),
        ({"run_as": False}, "client-credentials", "the app has no run-as user: right is one in the app's client"),
        ({"client_id": "other"}, "client-credentials", "client_id is not known there"),
        ({"client_secret": "other"}, "client-credentials", "client_secret is wrong"),
        ({"approved": False}, "jwt", "the user phones@example.com is not pre-authorised for the app"),
        ({"client_id": "other"}, "jwt", "client_id is not known there"),
        ({"password_flow": False}, "password", "the username-password flow is switched off for the org"),
        ({"soap": False}, "soap", "it takes no SOAP login of this version: right is another login"),
        ({"locked": True}, "soap", "or the user is locked out"),
        ({"run_as": False, "bare": True}, "client-credentials", "client_id or client_secret is wrong, or the app's"),
    ],
)
async def test_a_refused_login_says_what_is_right(set_up: dict[str, object], way: str, said: str) -> None:
    async with served(**LOGIN, public_key=PUBLIC) as crm:
        for name, value in set_up.items():
            setattr(crm.server.login, name, value)
        fault = await refused(crm.url, **WAYS[way])
        assert (type(fault), said in str(fault)) == (errors.Denied, True), str(fault)


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ({"error": "inactive_user"}, errors.Denied, "is not active"),
        ({"error": "inactive_org"}, errors.Denied, "the org is not active"),
        ({"error": "rate_limit_exceeded"}, errors.Unavailable, "too many logins"),
        ({"error": "server_error"}, errors.Unavailable, "a fault of its own"),
        ({"error": "never_heard_of"}, errors.Denied, "the login is refused"),
        ([{"errorCode": "ORG_IN_MAINTENANCE", "message": "down"}], errors.Unavailable, "in maintenance"),
        ({"error": "invalid_grant", "error_description": "ip restricted"}, errors.Denied, "this IP address"),
    ],
)
async def test_credentials_and_policies_are_denied_and_the_orgs_state_passes(
    body: object, kind: type[errors.BridgeError], said: str
) -> None:
    text = orjson_text(body)
    async with scripted({"token": (400, text, {"Content-Type": "application/json"})}) as url:
        fault = await refused(url)
        assert (type(fault), said in str(fault)) == (kind, True), str(fault)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ((302, "", {"Location": "https://elsewhere.example/"}), errors.Denied, "redirects the login elsewhere"),
        ((404, "<html>", {}), errors.Denied, "has no login of Salesforce's"),
        ((200, "<html>", {}), errors.Unavailable, "answers with a web page"),
        ((200, "null", {}), errors.Unavailable, "JSON of another kind"),
        ((200, "{}", {}), errors.Unavailable, "something else than a token"),
        ((503, "<html>", {"Retry-After": "7"}), errors.Unavailable, "answers 503"),
    ],
)
async def test_a_login_host_that_is_none_is_said(answer: object, kind: type[errors.BridgeError], said: str) -> None:
    async with scripted({"token": answer}) as url:
        fault = await refused(url)
        assert (type(fault) is kind or isinstance(fault, kind), said in str(fault)) == (True, True), str(fault)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((503, "<html>", {}), errors.Unavailable),
        ((500, "<html>", {}), errors.Unavailable),
        ((200, "<html>", {}), errors.Unavailable),
        ((404, "<html>", {}), errors.Denied),
        ((500, "<e><faultcode>sf:ORG_IN_MAINTENANCE</faultcode></e>", {}), errors.Unavailable),
        ((500, "<e><faultcode>LOGIN_DURING_RESTRICTED_TIME</faultcode></e>", {}), errors.Denied),
        ((500, "<e><faultcode>NEVER_HEARD_OF</faultcode></e>", {}), errors.Denied),
    ],
)
async def test_soap_faults_have_classes(answer: object, kind: type[errors.BridgeError]) -> None:
    async with scripted({"Soap": answer}) as url:
        fault = await refused(url, login="soap", **LOGIN)
        assert isinstance(fault, kind), repr(fault)


async def test_soap_escapes_and_oauth_does_not() -> None:
    seen: list[str] = []
    async with scripted({"": (400, "", {})}, seen) as url:
        await refused(url, login="soap", **LOGIN)
        await refused(url, login="password", **LOGIN)
    assert "<urn:password>pa&lt;&amp;&gt;sstok3n</urn:password>" in seen[0]
    assert dict(urllib.parse.parse_qsl(seen[1]))["password"] == "pa<&>sstok3n"


async def test_an_assertion_is_short_lived_and_signed() -> None:
    seen: list[str] = []
    async with scripted({"token": (400, "", {})}, seen) as url:
        await refused(url, **JWT)
    sent = dict(urllib.parse.parse_qsl(seen[0]))
    claims = jwt.decode(sent["assertion"], PUBLIC, algorithms=["RS256"], audience=grants.PRODUCTION)
    assert sent.keys() == {"grant_type", "assertion"}
    assert (claims["iss"], claims["sub"]) == ("3MVG9", "phones@example.com")
    assert 100 < claims["exp"] - time.time() <= 180


@pytest.mark.parametrize(
    ("url", "audience", "given"),
    [
        ("https://login.salesforce.com", grants.PRODUCTION, ""),
        ("https://acme.my.salesforce.com", grants.PRODUCTION, ""),
        ("https://test.salesforce.com", grants.SANDBOX, ""),
        ("https://acme--uat.sandbox.my.salesforce.com", grants.SANDBOX, ""),
        ("https://acme.my.salesforce.com", "https://people.acme.example", "https://people.acme.example"),
    ],
)
def test_the_audience_is_that_of_the_login_host(url: str, audience: str, given: str) -> None:
    table = keys.Salesforce.model_validate({"url": url, **SECRETS, **JWT, "audience": given})
    assert grants.audience(table) == audience


async def test_a_wrong_audience_a_wrong_key_and_a_key_that_is_none_are_told_apart() -> None:
    async with served(**LOGIN, public_key=PUBLIC) as crm:
        crm.org.sandbox = True
        assert 'right is audience = "https://login' in str(await refused(crm.url, **JWT))
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        assert "does not belong to private_key" in str(await refused(crm.url, **{**JWT, "private_key": other.decode()}))
        assert "no RSA private key in PEM" in str(await refused(crm.url, **{**JWT, "private_key": "nonsense"}))
        assert "no RSA private key in PEM" in str(await refused(crm.url, **{**JWT, "private_key": PUBLIC}))


async def test_an_assertion_that_counts_as_expired_names_both_clocks() -> None:
    text = orjson_text({"error": "invalid_grant", "error_description": "expired authorization code"})
    headers = {"Content-Type": "application/json", "Date": "Fri, 20 Nov 2020 12:00:00 GMT"}
    async with scripted({"token": (400, text, headers)}) as url:
        assert "this machine's clock is" in str(await refused(url, **JWT))


async def test_a_key_on_one_line_is_read() -> None:
    async with served(**LOGIN, public_key=PUBLIC) as crm:
        await crm.run(**{**JWT, "private_key": PRIVATE.replace("\n", "\\n")})
        assert len(crm.mirror.records) == 2


async def test_a_session_goes_to_no_instance_without_tls() -> None:
    answers = {"token": {"access_token": "t", "instance_url": "ftp://instance.example"}}
    async with scripted(answers) as url:
        assert "names an instance that is no https address" in str(await refused(url))


async def test_one_source_logs_in_once_for_many_runs_and_again_when_the_session_ends() -> None:
    async with served() as crm, opened(crm.url) as made:
        for _ in range(3):
            await crm.mirror.run(made)
        crm.server.expire()
        await crm.mirror.run(made)
        assert sum("/oauth2/token" in line for line in crm.server.calls) == 2


async def test_an_org_that_moved_is_read_in_full_for_its_pages_moved_too() -> None:
    async with served() as crm:
        await crm.run()
        crm.mirror.cursor = {**(crm.mirror.cursor or {}), "instance": "https://old.my.salesforce.com"}
        assert (await crm.run()).complete


async def test_a_login_that_is_busy_is_not_a_refusal() -> None:
    async with served() as crm:
        crm.server.faults.append(Fault("/oauth2/token", "rate_limit"))
        assert isinstance(await refused(crm.url), errors.Unavailable)
        assert (await crm.run()).complete


def test_ids_have_18_characters() -> None:
    assert soql.full_id("0035g0000000001") == "0035g0000000001AAA"
    assert soql.full_id("003D000000QOS1x") == "003D000000QOS1xIAH"
    assert soql.full_id("003D000000QOS1xIAH") == "003D000000QOS1xIAH"
    assert soql.full_id("' OR Id != '") == ""


def test_a_text_ends_where_it_should() -> None:
    assert soql.text('O\'Hara \\ "x"\n') == "'O\\'Hara \\\\ \\\"x\\\"\\n'"


def orjson_text(value: object) -> str:
    """As JSON."""
    return orjson.dumps(value).decode()
