"""What one configuration serves, and that nothing of it is left once another one is in force."""

import gc
from pathlib import Path

from bridge import config, lookup
from bridge.bookshelf import Bookshelf
from bridge.server import surfaces
from bridge.store import Store

TENANT = """
region = "{region}"
[source.crm]
type = "phonebook"
url = "http://127.0.0.1:9/book"
username = "phones"
password = "secret"
[sink.pbx]
type = "ccm"
url = "http://127.0.0.1:9/api.aspx"
security_key = "k"
[connector]
token = "token"
[connector.workflow.CallFlow]
action = "webhook"
url = "http://127.0.0.1:9/hook"
[phonebook.staff]
users = {{ phones = "phones-password" }}
[provisioning]
[pbxsync]
allow = ["127.0.0.1"]
"""


async def test_a_configuration_that_is_replaced_is_gone_without_a_collection(db: Store, tmp_path: Path) -> None:
    """The answering process collects seldom and freezes what it has loaded: a cycle would stay for ever."""
    path = tmp_path / "bridge.toml"
    path.write_text('region = "LU"\ntenants = "tenants/*.toml"\n')
    (tmp_path / "tenants").mkdir()

    def write(region: str) -> None:
        for n in range(3):
            file = tmp_path / "tenants" / f"t{n}.toml"
            file.touch(0o600)
            file.write_text(TENANT.format(region=region))

    write("LU")
    parts = surfaces.shared(db, lookup.Lookups(db), Bookshelf(db, tmp_path / "books"))
    told = config.load(path)
    made = surfaces.of(told, parts)
    write("DE")
    fresh = config.load(path, told)
    gc.collect()
    gc.disable()
    try:
        for n in range(3):
            for rest in ("services/Lookup", "phonebook/staff", "provisioning", "pbxsync/x"):
                assert made.heads.answer(b"GET /t%d/%s HTTP/1.1\r\n\r\n" % (n, rest.encode())) is None
                assert made._places.of(f"/t{n}/{rest}").usual
        made = surfaces.of(fresh, parts)
        told = fresh
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kept = [type(one) for one in gc.garbage if type(one).__module__.startswith("bridge.")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert kept == []
