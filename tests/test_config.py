import copy
import json
import pickle
import re
import shutil
from pathlib import Path
from urllib.parse import urlencode

import pytest
from certificates import certificate

from bridge import config, errors, keys

MANUAL = Path(__file__).parent.parent / "bridge.toml"

WHOLE = """
region = "LU"
[source.office]
type = "carddav"
url = "https://dav.example.com"
username = "phones"
password = "geheim"
[source.crm]
type = "file"
path = "crm.vcf"
[sink.pbx]
type = "ccm"
url = "https://pbx.example.com:8000/api.aspx"
security_key = "0123456789"
[connector]
token = "jlvlkdshvövdjhwg"
"""

CARDDAV = """
region = "LU"
[source.cards]
type = "carddav"
url = "https://dav.example.com"
"""

SINK = """
region = "LU"
[sink.pbx]
type = "ccm"
url = "https://pbx.example.com/api.aspx"
security_key = "x"
"""


DEFAULTS_IN_MANUAL = frozenset(keys.Crm.model_fields) - {"type", "label", "logo", "region", "fields", "ca"} | {
    *("login", "audience", "api_version", "objects", "overlap", "bulk_from", "quota", "call_key"),
    *("platform", "modules", "folders", "gal", "books", "auth", "format"),
}


def write(folder: Path, text: str, name: str = "bridge.toml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def loaded(folder: Path, text: str) -> config.Config:
    return config.load(write(folder, text))


def problems(folder: Path, text: str) -> list[str]:
    path = write(folder, text)
    with pytest.raises(errors.ConfigError) as failed:
        config.load(path)
    return [line.removeprefix(f"{path}:") for line in failed.value.problems]


def test_a_small_file_gives_every_default(tmp_path, monkeypatch):
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    got = loaded(tmp_path, WHOLE)
    tenant = got.tenants["default"]
    assert (got.region, got.internal_digits, got.log, got.state_dir) == ("LU", 5, "auto", tmp_path / ".bridge")
    assert (got.database.url, got.database.replica) == ("embedded", "")
    assert got.http == keys.Http(listen="127.0.0.1:8080")
    assert got.admin.listen == (keys.Endpoint("127.0.0.1", 8081),)
    office, crm = tenant.sources.values()
    assert isinstance(office, keys.CardDav)
    assert (office.every, office.full, office.timeout, office.region, office.label) == (300, 86400, 30, "LU", "CardDAV")
    assert (office.guard.percent, office.guard.floor, office.guard.most) == (10, 10, 500)
    assert isinstance(crm, keys.File)
    assert (crm.every, crm.path, crm.format, crm.label) == (30, tmp_path / "crm.vcf", "auto", "File")
    sink = tenant.sinks["pbx"]
    assert (sink.numbers, sink.concurrency, sink.rate, sink.timeout, sink.max_url) == ("digits", 4, 20, 30, 2000)
    assert (sink.contacts, sink.extensions, sink.delete_extensions, sink.fingerprint) == (True, False, False, "")
    assert tenant.connector is not None
    assert (tenant.connector.path, tenant.connector.header) == ("/services", "X-Execution-Token")
    assert (tenant.connector.limit, tenant.connector.suffix) == (5, 0)
    assert tenant.connector.tokens == ("jlvlkdshvövdjhwg",)


def test_sources_keep_the_order_of_the_file_and_a_sink_takes_all_of_them(tmp_path):
    tenant = loaded(tmp_path, WHOLE + '\n[source.a]\ntype="file"\npath="a"').tenants["default"]
    assert list(tenant.sources) == ["office", "crm", "a"]
    assert tenant.sinks["pbx"].sources == ("office", "crm", "a")


def test_every_mistake_is_said_at_once_with_the_nearest_known_key(tmp_path, monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    text = """
        regoin = "LU"
        log = "jsn"
        [http]
        listen = "localhost"
        [source.crm]
        type = "sales-force"
        every = 300
        [source.dav]
        type = "carddav"
        url = "dav.example.com"
        pasword = "x"
        password = { env = "NOT_SET" }
        verify = "no"
        [sink.pbx]
        type = "ccm"
        url = "https://pbx.example.com/"
        sources = ["dvv"]
        numbers = "e146"
        [connector]
        suffix = 3
    """
    got = problems(tmp_path, text)
    wanted = {
        "regoin": "there is no such key, did you mean region?",
        "log": 'is "jsn", right is one of "auto", "console", "json"; did you mean "json"?',
        "http.listen": '"localhost" has no port, right is "127.0.0.1:8080"',
        "source.crm.type": 'did you mean "salesforce"?',
        "source.crm.every": 'is the number 300, right is a number and s, m, h or d, such as "30s", "5m", "1h" or "1d"',
        "source.crm.url": 'is missing, right is for example "https://example.my.salesforce.com"',
        "source.crm.client_id": 'login = "client-credentials" needs it',
        "source.crm.client_secret": "is missing",
        "source.dav.url": "is no http or https address",
        "source.dav.pasword": "there is no such key, did you mean password?",
        "source.dav.password": "environment variable NOT_SET is not set",
        "source.dav.verify": 'is "no", right is true or false, without quotes',
        "source.dav.username": "is missing",
        "sink.pbx.sources[0]": 'is "dvv" and there is no such source, did you mean "dav"?',
        "sink.pbx.numbers": 'did you mean "e164"?',
        "sink.pbx.security_key": "is missing",
        "connector.token": "is missing",
        "connector.suffix": "is the number 3, right is 0 (whole numbers only), or 7 to 10",
    }
    said = dict(line.split(": ", 1) for line in got)
    assert {key for key, words in wanted.items() if words not in said.get(key, "")} == set()
    assert set(said) == set(wanted)


def test_how_to_log_is_taken_up_by_a_start_alone_and_said(tmp_path):
    before = loaded(tmp_path, 'log = "json"\nregion = "LU"\n')
    write(tmp_path, 'log = "console"\nregion = "DE"\n')
    with pytest.raises(errors.ConfigError, match="log: has changed, and only a start takes that up"):
        config.reload(before)
    write(tmp_path, 'log = "json"\nregion = "DE"\n')
    assert config.reload(before).region == "DE"


def test_a_region_is_needed_where_a_source_has_none_of_its_own(tmp_path):
    source = '[source.a]\ntype="file"\npath="a"\n'
    assert [p.split(",")[0] for p in problems(tmp_path, source)] == ["region: is missing"]
    got = loaded(tmp_path, source + 'region = "de"')
    assert (got.region, got.tenants["default"].sources["a"].region) == ("DE", "DE")
    assert loaded(tmp_path, "").region == ""


@pytest.mark.parametrize(("given", "hint"), [("UK", 'did you mean "GB"?'), ("Luxembourg", '"LU"'), ("352", '"LU"')])
def test_a_region_that_is_none_is_said(tmp_path, given, hint):
    [problem] = problems(tmp_path, f'region = "{given}"')
    assert problem.startswith(f'region: is "{given}", right is a country')
    assert hint in problem


@pytest.mark.parametrize(("written", "seconds"), [("1s", 1), ("1.5s", 1.5), ("5m", 300), ("2 h", 7200), ("1d", 86400)])
def test_durations(tmp_path, written, seconds):
    got = loaded(tmp_path, CARDDAV + f'every = "{written}"')
    assert got.tenants["default"].sources["cards"].every == seconds


@pytest.mark.parametrize("written", ['"0.5s"', '"5"', '"5 min"', "5", "true", '"-1s"', '""', '"99999d"', '["5m"]'])
def test_what_is_no_duration_is_said(tmp_path, written):
    [problem] = problems(tmp_path, CARDDAV + f"every = {written}")
    assert problem.startswith("source.cards.every: is ")
    assert ", right is " in problem


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('region = "LU"\nlog = auto\n', 2),
        ("[source.crm\n", 1),
        ('a = 1\na = 2\nb = "\n', 2),
        ('region = "LU\n', 1),
        ('x = """', 1),
    ],
)
def test_a_mistake_of_toml_names_file_and_line(tmp_path, text, line):
    [problem] = problems(tmp_path, text)
    assert problem.startswith(f"{line}: is no TOML, ")
    assert "; right is " in problem


def test_a_file_in_another_encoding_names_the_line(tmp_path):
    path = tmp_path / "bridge.toml"
    path.write_bytes('region = "LU"\n# Büro\n'.encode("latin-1"))
    with pytest.raises(errors.ConfigError, match=r"bridge\.toml:2: is no UTF-8"):
        config.load(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    path = tmp_path / "bridge.toml"
    path.write_bytes(b'\xef\xbb\xbfregion = "LU"\r\n')
    assert config.load(path).region == "LU"


def test_a_file_that_is_not_there_or_a_directory_is_said(tmp_path):
    with pytest.raises(errors.ConfigError, match="there is no such file"):
        config.load(tmp_path / "none.toml")
    with pytest.raises(errors.ConfigError, match="cannot be read"):
        config.load(tmp_path)


def test_the_file_is_looked_for_in_its_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = tmp_path / "named.toml"
    monkeypatch.setenv("BRIDGE_CONFIG", str(named))
    assert config.find(Path("given.toml")) == Path("given.toml")
    if not Path("/etc/bridge/bridge.toml").exists():
        with pytest.raises(errors.ConfigError, match=r"named\.toml, bridge\.toml, /etc/bridge/bridge\.toml"):
            config.find()
    write(tmp_path, "")
    assert config.find() == Path("bridge.toml")
    named.touch()
    assert config.find() == named


def test_state_dir_is_systemds_then_beside_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/bridge:/var/lib/other")
    assert loaded(tmp_path, "").state_dir == Path("/var/lib/bridge")
    assert loaded(tmp_path, 'state_dir = "data"').state_dir == tmp_path / "data"


def test_secrets_come_from_env_file_and_credential(tmp_path, monkeypatch):
    monkeypatch.setenv("DAV_PASSWORD", "from env\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "creds"))
    write(tmp_path, "from file\n\n", "secrets/pbx.key")
    write(tmp_path, "from credential\r\n", "creds/token")
    text = """
        region = "LU"
        [source.a]
        type = "carddav"
        url = "https://dav.example.com"
        username = "u"
        password = { env = "DAV_PASSWORD" }
        [sink.b]
        type = "ccm"
        url = "https://pbx.example.com"
        security_key = { file = "secrets/pbx.key" }
        [connector]
        tokens = [{ credential = "token" }, "literal"]
    """
    got = loaded(tmp_path, text)
    tenant = got.tenants["default"]
    assert tenant.sources["a"].password == "from env\n"
    assert tenant.sinks["b"].security_key == "from file\n"
    assert tenant.connector.tokens == ("from credential", "literal")
    assert set(got.secrets) == {"from env\n", "from file\n", "from credential", "literal"}
    assert all(type(secret) is str for secret in got.secrets)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ('{ env = "NOT_SET" }', "environment variable NOT_SET is not set"),
        ('{ env = "EMPTY" }', "env EMPTY is empty"),
        ('{ file = "none.key" }', "none.key cannot be read (No such file or directory)"),
        ('{ credential = "token" }', "LoadCredential=token:PATH"),
        ('{ envv = "X" }', '"envv" is no place of a secret, did you mean env?'),
        ('{ env = "X", file = "Y" }', "names 2 places of a secret, right is one"),
        ("{ env = 1 }", 'env is no name, right is { env = "NAME" }'),
        ("12345", "is no text, right is the secret in quotes"),
    ],
)
def test_a_secret_that_is_not_there_is_said_by_its_place(tmp_path, monkeypatch, reference, said):
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("EMPTY", "")
    [problem] = problems(tmp_path, f'region = "LU"\n[provisioning]\nkey = {reference}')
    assert problem.startswith("provisioning.key: ")
    assert said in problem
    assert "12345" not in problem


def test_a_credential_is_a_name_and_not_a_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    [problem] = problems(tmp_path, '[provisioning]\nkey = { credential = "../etc/shadow" }')
    assert problem.startswith("provisioning.key: credential is a path")


def test_a_literal_secret_in_a_file_that_others_can_read_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("PHONES", "geheim")
    path = write(
        tmp_path,
        WHOLE
        + """
        [phonebook.staff]
        users = { a = "literal", b = { env = "PHONES" } }
        [database]
        url = "postgresql://bridge:geheim@db1,db2/bridge"
        """,
    )
    assert config.load(path).warnings == ()
    path.chmod(0o644)
    got = [warning.removeprefix(f"{path}:").split(": ")[0] for warning in config.load(path).warnings]
    assert set(got) == {
        "database.url",
        "connector.token",
        "phonebook.staff.users.a",
        "source.office.password",
        "sink.pbx.security_key",
    }


def test_a_workflow_at_a_source_that_is_only_read_is_a_warning(tmp_path):
    text = """region = "LU"
[source.list]
type = "file"
path = "list.vcf"
[connector]
token = "x"
[connector.workflow.A]
action = "note"
source = "list"
"""
    [warning] = loaded(tmp_path, text).warnings
    assert 'connector.workflow.A.source: is "list", a file, which is only read; right is a CRM' in warning


def test_http_to_another_machine_and_an_unchecked_certificate_are_warnings(tmp_path):
    text = CARDDAV.replace("https://dav", "http://dav") + 'username = "u"\npassword = "p"\nverify = false'
    got = [warning.split("bridge.toml:")[1].split(": ")[0] for warning in loaded(tmp_path, text).warnings]
    assert got == ["source.cards.verify", "source.cards.url"]
    assert loaded(tmp_path, text.replace("dav.example.com", "127.0.0.1:1").replace("verify = false", "")).warnings == ()


def test_secrets_show_themselves_to_nobody(tmp_path):
    got = loaded(tmp_path, WHOLE)
    assert "geheim" not in repr(got)
    assert "0123456789" not in repr(got)
    tenant = got.tenants["default"]
    assert "geheim" not in tenant.sources["office"].model_dump_json()
    assert "geheim" not in str(tenant.sources["office"].model_dump())
    password = tenant.sources["office"].password
    assert (f"{password}", f"{password:>5}", f"{password!r}") == ("***", "  ***", "Secret('***')")
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(password)
    assert repr([copy.copy(password), copy.deepcopy(password)]) == "[Secret('***'), Secret('***')]"


def test_a_secret_is_its_text_where_it_is_used():
    secret = keys.Secret("geheim")
    assert secret == "geheim"
    assert secret.encode() == b"geheim"
    assert ":".join(("user", secret)) == "user:geheim"
    assert "Bearer " + secret == "Bearer geheim"
    assert (secret.reveal(), type(secret.reveal())) == ("geheim", str)
    assert (keys.Secret(secret).reveal(), str(secret), type(str(secret))) == ("geheim", "geheim", str)
    assert urlencode({"qsSecuritykey": secret}) == "qsSecuritykey=geheim"
    assert json.dumps({"password": secret}) == '{"password": "geheim"}'
    assert not keys.Secret()
    assert f"{keys.Secret()}" == ""


def test_models_can_be_made_in_code(tmp_path):
    made = keys.CardDav(url="https://dav.example.com", password="geheim", timeout=2.0, ca=None)
    assert (made.timeout, made.password, made.every) == (2.0, "geheim", 300)
    assert keys.File(path=tmp_path / "a.vcf").path == tmp_path / "a.vcf"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[connector]", "connector.token: is missing"),
        ('[connector]\ntoken = ""', "connector.token: is missing"),
        ("[connector]\ntokens = []", "connector.token: is missing"),
        ('[connector]\ntokens = ["a", ""]', "connector.tokens[1]: is empty"),
        ("[phonebook.staff]", "phonebook.staff.users: is missing"),
        ('[phonebook.staff]\nusers = { a = "" }', "phonebook.staff.users.a: is empty"),
        ('[phonebook.staff]\nusers = { "a:b" = "x" }', 'phonebook.staff.users."a:b": is no user name'),
        ('[admin]\nlisten = "0.0.0.0:8081"', "admin.users: is missing"),
        ('[admin]\nlisten = ["127.0.0.1:9", "192.168.1.1:9"]', "admin.users: is missing"),
        ("[pbxsync]", "pbxsync.allow: is missing"),
        ("[pbxsync]\nallow = []", "pbxsync.allow: is empty"),
        ('[sink.p]\ntype="ccm"\nurl="https://pbx"\nsecurity_key=""', "sink.p.security_key: is empty"),
    ],
)
def test_a_surface_without_its_secret_is_a_mistake(tmp_path, text, problem):
    got = problems(tmp_path, text)
    assert [line for line in got if line.startswith(problem)] == got


def test_a_phone_book_for_the_accounts_needs_no_users(tmp_path):
    book = loaded(tmp_path, "[phonebook.staff]\naccounts = true").tenants["default"].phonebooks["staff"]
    assert (book.accounts, book.users, book.title, book.numbers) == (True, {}, "staff", "e164")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[http]\nlisten = "0.0.0.0:8081"', 'is "127.0.0.1:8081" by default, on the port of [http]'),
        ('[admin]\nlisten = "127.0.0.2:8080"', 'is "127.0.0.2:8080", on the port of [http]'),
        ('[http]\nlisten=["[::1]:1","[::1]:2"]\n[admin]\nlisten="[::1]:2"', 'is "[::1]:2", on the port of [http]'),
    ],
)
def test_admin_is_never_on_a_port_of_http(tmp_path, text, said):
    [problem] = problems(tmp_path, text)
    assert problem.startswith(f"admin.listen: {said}")


def test_any_free_port_may_be_asked_for_twice(tmp_path):
    got = loaded(tmp_path, '[http]\nlisten = "127.0.0.1:0"\n[admin]\nlisten = "localhost:0"')
    assert (got.http.listen, got.admin.listen) == (
        (keys.Endpoint("127.0.0.1", 0),),
        (keys.Endpoint("localhost", 0),),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[connector.workflow.LookUp]\naction='note'", "connector.workflow.LookUp: is the name of the lookup itself"),
        ("[connector.workflow.'a/b']\naction='note'", 'connector.workflow."a/b": is no name'),
        ("[connector.workflow.'..']\naction='note'", 'connector.workflow."..": is no name'),
        ("[connector.workflow.' a']\naction='note'", 'connector.workflow." a": is no name, right is at most 63'),
        ("[connector.workflow.A]", "connector.workflow.A.action: is missing"),
        ("[connector.workflow.A]\naction='log_call'", 'connector.workflow.A.action: is "log_call", right is one of'),
        ("[connector.workflow.A]\naction='webhook'", "connector.workflow.A.url: is missing"),
        (
            "[connector.workflow.A]\naction='note'\nurl='https://x'",
            'connector.workflow.A.url: is for action = "webhook"',
        ),
        (
            "[connector.workflow.A]\naction='note'\nsource='fil'",
            'connector.workflow.A.source: is "fil" and there is no such source, did you mean "file"?',
        ),
    ],
)
def test_workflows_are_checked(tmp_path, text, problem):
    got = problems(tmp_path, f'region = "LU"\n[source.file]\ntype="file"\npath="a"\n[connector]\ntoken="x"\n{text}')
    assert [line[: len(problem)] for line in got] == [problem]


def test_a_workflow_may_be_called_anything_that_a_button_can_say(tmp_path):
    names = ["CallFlow", "Create ticket", "Gesprächsnotiz", "Call.Flow", "R&D?"]
    tables = "".join(f"[connector.workflow.'{name}']\naction='note'\n" for name in names)
    assert list(loaded(tmp_path, f"[connector]\ntoken='x'\n{tables}").tenants["default"].connector.workflow) == names


@pytest.mark.parametrize(
    ("keys_of_it", "wrong"),
    [
        ('auth = "bearer"', ["token"]),
        ('auth = "digest"', ["username"]),
        ('token = "x"', ["token"]),
        ('username = "u"', ["password"]),
        ('password = "u"', ["username"]),
        ('auth = "bearer"\ntoken = "x"', []),
        ("", []),
    ],
)
def test_carddav_logs_in_with_what_its_way_needs(tmp_path, keys_of_it, wrong):
    text = CARDDAV + keys_of_it
    got = problems(tmp_path, text) if wrong else []
    assert [line.split(": ")[0] for line in got] == [f"source.cards.{key}" for key in wrong]
    assert wrong or loaded(tmp_path, text)


@pytest.mark.parametrize(
    ("login", "wrong"),
    [
        ("client-credentials", ["client_id", "client_secret"]),
        ("jwt", ["client_id", "username", "private_key"]),
        ("password", ["client_id", "client_secret", "username", "password"]),
        ("soap", ["username", "password"]),
    ],
)
def test_salesforce_logs_in_with_what_its_way_needs(tmp_path, login, wrong):
    text = 'region="LU"\n[source.s]\ntype="salesforce"\nurl="https://x.my.salesforce.com"\n' + f'login="{login}"'
    assert [line.split(": ")[0] for line in problems(tmp_path, text)] == [f"source.s.{key}" for key in wrong]


def test_client_credentials_are_not_sent_to_a_login_host(tmp_path):
    text = """
        region = "LU"
        [source.s]
        type = "salesforce"
        url = "https://login.salesforce.com"
        client_id = "a"
        client_secret = "b"
    """
    [problem] = problems(tmp_path, text)
    assert problem.startswith("source.s.url: is a login host")


def test_sugar_is_never_asked_as_the_platform_of_people(tmp_path):
    text = '[source.s]\ntype="sugarcrm"\nregion="LU"\nurl="https://x"\nusername="u"\npassword="p"\nplatform="base"'
    assert [p.split(",")[0] for p in problems(tmp_path, text)] == ['source.s.platform: is "base"']


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            'fingerprint = "ab"',
            "fingerprint: is 2 characters, right is the certificate's SHA-256: 64 hexadecimal digits",
        ),
        ("rate = 0", "rate: is the number 0, right is more than 0"),
        ("concurrency = 1.5", "concurrency: is the number 1.5, right is a whole number such as 4"),
        ("concurrency = 0", "concurrency: is the number 0, right is at least 1"),
        ("contacts = 1", "contacts: is the number 1, right is true or false"),
        ("sources = []", "sources: is empty"),
        ('sources = "a"', 'sources: is "a", right is a list such as ["crm", "office"]'),
        ('sources = ["a"]', 'sources[0]: is "a" and there is no source at all, right is a table [source.a]'),
        ('delete_contact_key = ""', 'delete_contact_key: is empty, right is a text such as "dContact"'),
        ('typ = "x"', "typ: there is no such key, did you mean type?"),
    ],
)
def test_a_sink_is_checked(tmp_path, line, said):
    [problem] = problems(tmp_path, SINK + line)
    assert problem.startswith(f"sink.pbx.{said}")


def test_a_fingerprint_may_have_colons(tmp_path):
    written = ":".join(["AB"] * 32)
    assert (
        loaded(tmp_path, SINK + f'fingerprint = "{written}"').tenants["default"].sinks["pbx"].fingerprint == "ab" * 32
    )


@pytest.mark.parametrize(
    "url",
    ["ftp://x", "pbx.example.com", "https://", "https://u:p@x/", "https://x:99999", "https://x/?a=b", "https://x y"],
)
def test_a_url_that_is_none_is_said_without_what_it_holds(tmp_path, url):
    [problem] = problems(tmp_path, SINK.replace("https://pbx.example.com/api.aspx", url))
    assert problem.startswith("sink.pbx.url: ")
    assert "right is" in problem
    assert "u:p" not in problem


@pytest.mark.parametrize("name", ["a b", "-a", "bü", "a.b", "a:b", ""])
def test_a_name_that_fits_nowhere_is_said(tmp_path, name):
    [problem] = problems(tmp_path, f'region = "LU"\n[source."{name}"]\ntype = "file"\npath = "a"')
    assert problem.startswith(f'source."{name}": is no name') or problem.startswith(f"source.{name}: is no name")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[source]\ntype = "file"', "source: is no group of tables, right is [source.NAME]"),
        ('source = "crm"', "source: is no group of tables, right is [source.NAME]"),
        ('http = "127.0.0.1:8080"', 'http: is "127.0.0.1:8080", right is a table: [http]'),
        ("[[http]]", "http: is a list, right is a table: [http]"),
        ("[source.a]", 'source.a.type: is missing, right is one of "salesforce"'),
        ("[source.a]\ntype = 5", "source.a.type: is the number 5, right is one of"),
        ("[source.a]\ntype = []", "source.a.type: is a list, right is one of"),
        ('[http]\nstate_dir = "x"', "http.state_dir: there is no such key in a table, right is above"),
        (
            '[http]\ntrusted_proxies = ["10.0.0.1/8"]',
            'http.trusted_proxies[0]: is "10.0.0.1/8", right is the network itself: "10.0.0.0/8"',
        ),
        ('[http]\ntls = { certificate = "no.pem", key = "no.key" }', "http.tls.certificate: there is no file"),
        (
            '[http]\ntls = { certificate = "bridge.toml", key = "bridge.toml" }',
            "http.tls: /",
        ),
        ('[connector]\ntokens = "hunter2"', "connector.tokens: is a text, right is a list such as"),
        ('[admin]\nusers = "hunter2"', "admin.users: is a text, right is a table such as"),
        ('[phonebook.x]\nusers = "hunter2"', "phonebook.x.users: is a text, right is a table such as"),
        ("[connector]\ntoken = 12345", "connector.token: is no text, right is"),
        ('connector = "hunter2"', "connector: is a text, right is a table: [connector]"),
        ("[database]\nurl = 5", "database.url: is a number, right is a text such as"),
        ('[database]\nurl = "mysql://x"', "database.url: is no address of a PostgreSQL"),
        (
            '[provisioning.defaults]\ntransport = "tls"',
            'provisioning.defaults.transport: is "tls", right is one of "UDP", "TCP", "TLS"; did you mean "TLS"?',
        ),
        ('[provisioning]\npath = "phonebook"', 'provisioning.path: is "phonebook", right is a path such as'),
        ('[provisioning]\npath = "/phonebook/x"', 'provisioning.path: is "/phonebook/x", which is taken'),
        ('[pbxsync]\nallow = ["https://x"]', 'pbxsync.allow[0]: is "https://x", right is a host, or host and port'),
        (
            "[provisioning.defaults]\nsrtp = true",
            'provisioning.defaults.srtp: is true, right is one of "Enabled", "Disa',
        ),
        (
            '[provisioning.defaults]\nsrtp = "enable"',
            'provisioning.defaults.srtp: is "enable", right is one of "Enabled",',
        ),
        ("internal_digits = 11", "internal_digits: is the number 11, right is at most 10"),
        ("region = 1979-05-27", "region: is a date, right is a text"),
    ],
)
def test_mistakes_are_told_in_the_words_of_the_file(tmp_path, text, said):
    got = problems(tmp_path, text)
    assert got[0].startswith(said)


def test_a_table_of_unknown_type_is_checked_for_what_all_types_have(tmp_path):
    got = problems(tmp_path, '[source.a]\ntype = "outlook"\nevery = 5\nmailbox = "x"')
    assert [line.split(": ")[0] for line in got] == ["source.a.type", "source.a.every"]


def test_servers_and_networks_are_values(tmp_path):
    text = """
        [http]
        listen = ["127.0.0.1:8080", "[::1]:8080"]
        trusted_proxies = ["10.0.0.0/8", "::1"]
        [pbxsync]
        allow = ["Zimbra.Example.com", "10.1.2.3:8443", "[fe80::1]:443"]
    """
    got = loaded(tmp_path, text)
    assert got.http.listen == (("127.0.0.1", 8080), ("::1", 8080))
    assert [str(network) for network in got.http.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert got.tenants["default"].pbxsync.allow == (("zimbra.example.com", None), ("10.1.2.3", 8443), ("fe80::1", 443))


def test_a_url_that_holds_a_secret_may_be_referred_to(tmp_path, monkeypatch):
    monkeypatch.setenv("BOOK", "https://phones.example.com/book?key=geheim")
    monkeypatch.setenv("DB", "postgresql://bridge:p%40ss@db/bridge")
    text = 'region="LU"\n[database]\nurl={env="DB"}\n[source.a]\ntype="phonebook"\nurl={env="BOOK"}'
    got = loaded(tmp_path, text)
    assert (got.database.url, type(got.database.url)) == ("postgresql://bridge:p%40ss@db/bridge", str)
    assert got.tenants["default"].sources["a"].url == "https://phones.example.com/book?key=geheim"
    assert {"p@ss", "https://phones.example.com/book?key=geheim"} <= set(got.secrets)
    assert "geheim" not in repr(got)
    assert "p%40ss" not in repr(got)


def test_each_tenants_file_is_a_tenant_with_its_own_tables(tmp_path):
    write(tmp_path, '[source.crm]\ntype = "file"\npath = "a.vcf"', "tenants/acme.toml")
    write(tmp_path, 'region = "FR"\ninternal_digits = 3\n[source.x]\ntype="file"\npath="/b"', "tenants/beta.toml")
    got = loaded(tmp_path, 'tenants = "tenants/*.toml"' + WHOLE)
    assert list(got.tenants) == ["default", "acme", "beta"]
    acme, beta = got.tenants["acme"], got.tenants["beta"]
    assert (acme.name, acme.region, acme.internal_digits) == ("acme", "LU", 5)
    assert acme.sources["crm"].path == tmp_path / "tenants" / "a.vcf"
    assert (beta.region, beta.internal_digits, beta.sources["x"].region) == ("FR", 3, "FR")
    assert (acme.connector, dict(acme.sinks)) == (None, {})


def test_mistakes_of_tenants_are_said_with_those_of_the_main_file(tmp_path):
    write(tmp_path, '[http]\nlisten = "x"\n[sorce.a]', "tenants/a.toml")
    write(tmp_path, "[broken", "tenants/b.toml")
    write(tmp_path, "", "tenants/services.toml")
    write(tmp_path, "", "tenants/default.toml")
    got = problems(tmp_path, 'tenants = "tenants/*.toml"\nlog = "x"\n[connector]\ntoken = "x"')
    said = [line.removeprefix(f"{tmp_path}/") for line in got]
    assert [line.split(": ")[0] for line in said] == [
        "log",
        "tenants/a.toml:http",
        "tenants/a.toml:sorce",
        "tenants/b.toml:1",
        "tenants/default.toml:default",
        "tenants/services.toml:services",
    ]


def test_a_pattern_of_tenants_without_a_file_is_a_warning(tmp_path):
    assert [
        '"none/*.toml" names no file' in warning for warning in loaded(tmp_path, 'tenants = "none/*.toml"').warnings
    ] == [True]


def uncommented(text: str) -> str:
    return re.sub(r"^#(?=[^\s#])", "", text, flags=re.MULTILINE)


def test_the_manual_loads_as_it_is(tmp_path, monkeypatch):
    for name in ("STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    got = config.load(Path(shutil.copy(MANUAL, tmp_path)))
    assert (got.region, list(got.tenants), got.warnings) == ("LU", ["default"], ())
    assert not got.tenants["default"].sources


def test_the_manual_with_all_in_force_loads_and_shows_the_defaults(tmp_path, monkeypatch):
    text = uncommented(MANUAL.read_text())
    for name in re.findall(r'env = "(\w+)"', text):
        monkeypatch.setenv(name, "secret")
    for name in re.findall(r'"([\w.]+\.(?:pem|key))"', text):
        write(tmp_path, "secret", name)
    certificate(tmp_path, "bridge")
    write(tmp_path, "", "tenants/acme.toml")
    got = loaded(tmp_path, text)
    assert got.warnings == ()
    tenant = got.tenants["default"]
    assert {type(source) for source in tenant.sources.values()} == set(keys.SOURCES.values())
    assert tenant.sinks["pbx"] == keys.Ccm(
        url=tenant.sinks["pbx"].url, security_key="secret", sources=("crm", "office")
    )
    assert tenant.phonebooks
    assert tenant.provisioning
    assert tenant.pbxsync
    assert {name for name, flow in tenant.connector.workflow.items()} == {"CallFlow", "Notify"}
    for source in tenant.sources.values():
        shown = {name for name in type(source).model_fields if name in DEFAULTS_IN_MANUAL}
        assert {name: getattr(source, name) for name in shown} == {
            name: type(source).model_fields[name].default for name in shown
        }


def test_the_manual_names_every_key_of_every_table():
    text = MANUAL.read_text()
    blocks = re.split(r"^#?\s?\[", text, flags=re.MULTILINE)
    heads = {
        keys.Top: "#",
        keys.Database: "database]",
        keys.Http: "http]",
        keys.Admin: "admin]",
        keys.Ccm: "sink.",
        keys.Connector: "connector]",
        keys.Book: "phonebook.",
        keys.Provisioning: "provisioning]",
        keys.PbxSync: "pbxsync]",
    }
    missing = set()
    for model, head in heads.items():
        block = next(block for block in blocks if block.startswith(head))
        missing |= {(head, key) for key in model.model_fields if not names(key, block) and key != "workflow"}
    for kind, model in keys.SOURCES.items():
        block = next(block for block in blocks if f'\n#type = "{kind}"' in block)
        own = set(model.model_fields) - set(keys.Crm.model_fields)
        missing |= {(kind, key) for key in own if not names(key, block)}
    common = next(block for block in blocks if block.startswith("source.crm]"))
    missing |= {("source", key) for key in keys.Crm.model_fields if not names(key, common)}
    flows = "".join(block for block in blocks if block.startswith("connector.workflow."))
    missing |= {("workflow", key) for key in keys.Workflow.model_fields if not names(key, flows)}
    missing |= {("guard", key) for key in keys.Guard.model_fields if f"{key} =" not in text}
    missing |= {("defaults", key) for key in keys.Defaults.model_fields if key not in text}
    assert missing == set()


def names(key: str, block: str) -> bool:
    return re.search(rf"^#? ?{key} = ", block, re.MULTILINE) is not None


def test_problems_are_said_of_the_file_as_it_was_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "log = 1")
    with pytest.raises(errors.ConfigError) as failed:
        config.load(Path("bridge.toml"))
    assert failed.value.problems == ('bridge.toml:log: is the number 1, right is one of "auto", "console", "json"',)


TENANT = """
[source.crm]
type = "file"
path = "crm.vcf"
[connector]
token = { file = "token" }
"""


def several(folder: Path, *names: str, text: str = TENANT) -> Path:
    """A main file with a tenant of each of these names."""
    for name in names:
        write(folder, text, f"tenants/{name}.toml")
    write(folder, "first-token", "tenants/token")
    return write(folder, 'region = "LU"\ntenants = "tenants/*.toml"\n')


def same(before: config.Config, after: config.Config) -> list[str]:
    """Tenants that are the same objects in both."""
    return [name for name, tenant in after.tenants.items() if before.tenants.get(name) is tenant]


def test_a_tenant_whose_file_has_not_changed_is_the_same_object_when_loaded_again(tmp_path):
    path = several(tmp_path, "a", "b", "c")
    first = config.load(path)
    assert same(first, config.load(path, first)) == ["default", "a", "b", "c"]
    assert same(first, config.load(path)) == []
    write(tmp_path, TENANT + "limit = 7\n", "tenants/b.toml")
    (tmp_path / "tenants" / "c.toml").unlink()
    write(tmp_path, TENANT, "tenants/d.toml")
    after = config.load(path, first)
    assert same(first, after) == ["default", "a"]
    assert list(after.tenants) == ["default", "a", "b", "d"]
    assert after.tenants["b"].connector.limit == 7
    assert same(after, config.load(path, after)) == ["default", "a", "b", "d"]


def test_what_a_tenant_has_from_the_main_file_counts_as_its_own(tmp_path):
    path = several(tmp_path, "a")
    first = config.load(path)
    write(tmp_path, 'region = "LU"\nlog = "json"\ntenants = "tenants/*.toml"\n')
    assert same(first, config.load(path, first)) == ["a"]
    write(tmp_path, 'region = "DE"\ntenants = "tenants/*.toml"\n')
    after = config.load(path, first)
    assert same(first, after) == []
    assert after.tenants["a"].sources["crm"].region == "DE"


def test_a_secret_or_certificate_elsewhere_that_changes_makes_another_tenant(tmp_path, monkeypatch):
    monkeypatch.setenv("PASSWORD", "one")
    more = TENANT + '[source.dav]\ntype = "carddav"\nurl = "https://dav.example.com/"\nusername = "x"\n'
    path = several(tmp_path, "a", text=more + 'password = { env = "PASSWORD" }\nca = "ca.pem"\n')
    write(tmp_path, TENANT.replace("{ file", '"plain"\n#'), "tenants/b.toml")
    write(tmp_path, "certificate", "tenants/ca.pem")
    before = config.load(path)
    for change in (
        lambda: monkeypatch.setenv("PASSWORD", "two"),
        lambda: write(tmp_path, "second-token", "tenants/token"),
        lambda: write(tmp_path, "another certificate", "tenants/ca.pem"),
    ):
        assert same(before, config.load(path, before)) == ["default", "a", "b"]
        change()
        after = config.load(path, before)
        assert same(before, after) == ["default", "b"]
        before = after
    assert before.tenants["a"].connector.tokens == ("second-token",)
    assert {"two", "second-token", "plain"} <= set(before.secrets)
    monkeypatch.delenv("PASSWORD")
    with pytest.raises(errors.ConfigError, match="PASSWORD is not set"):
        config.load(path, before)


def test_a_tenant_that_stays_keeps_its_warnings_and_one_that_others_can_read_gets_one(tmp_path):
    path = several(tmp_path, "a", "b", text=TENANT.replace("{ file", '"plain-token"\n#'))
    first = config.load(path)
    assert first.warnings == ()
    (tmp_path / "tenants" / "a.toml").chmod(0o644)
    for _ in range(2):
        first = config.load(path, first)
        [warning] = first.warnings
        assert "a.toml:connector.token: is a secret in a file that others can read" in warning
        assert "plain-token" in first.secrets


def test_a_file_that_moved_is_read_anew_for_what_it_names_beside_it(tmp_path):
    path = several(tmp_path, "a")
    first = config.load(path)
    (tmp_path / "tenants").rename(tmp_path / "customers")
    write(tmp_path, 'region = "LU"\ntenants = "customers/*.toml"\n')
    after = config.load(path, first)
    assert same(first, after) == []
    assert after.tenants["a"].sources["crm"].path == tmp_path / "customers" / "crm.vcf"


def test_every_mistake_of_every_file_is_said_when_loaded_again(tmp_path):
    path = several(tmp_path, "a", "b", "c")
    first = config.load(path)
    write(tmp_path, TENANT + "limit = 0\n", "tenants/a.toml")
    write(tmp_path, "no toml", "tenants/c.toml")
    write(tmp_path, TENANT, "tenants/metrics.toml")
    with pytest.raises(errors.ConfigError) as failed:
        config.load(path, first)
    at = [line.removeprefix(f"{tmp_path}/tenants/").split(": ")[0] for line in failed.value.problems]
    assert at == ["a.toml:connector.limit", "c.toml:1", "metrics.toml:metrics"]


def test_the_service_s_state_is_not_begun_anew_by_a_command(tmp_path, monkeypatch):
    """systemd tells the daemon alone where its state is: a command would read and push all of it a second time."""
    etc, states = tmp_path / "etc", tmp_path / "lib"
    monkeypatch.setattr(config, "ETC", etc)
    monkeypatch.setattr(config, "STATES", states)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    for name in ("bridge", "acme"):
        service = states / ("bridge" if name == "bridge" else "bridge-acme")
        path = write(etc, WHOLE, f"{name}.toml")
        assert config.load(path).state_dir == etc / ".bridge", "there is no service"
        service.mkdir(parents=True)
        with pytest.raises(errors.ConfigError) as caught:
            config.load(path)
        wrong = "is missing, and the service keeps its state elsewhere, right is"
        assert caught.value.problems == (f'{path}:state_dir: {wrong} "{service}"',)
        monkeypatch.setenv("STATE_DIRECTORY", str(service))
        assert config.load(path).state_dir == service
        monkeypatch.delenv("STATE_DIRECTORY")
        write(etc, f'state_dir = "{service}"\n{WHOLE}', f"{name}.toml")
        assert config.load(path).state_dir == service
