import contextlib
import io
import json
import logging
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable

import pytest
import structlog

from bridge import keys, log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before():
    """Give back what `setup` changes for the whole process."""
    level, handlers = logging.getLogger().level, list(logging.getLogger().handlers)
    yield
    log.hide(())
    structlog.reset_defaults()
    logging.captureWarnings(False)
    logging.getLogger().setLevel(level)
    logging.getLogger().handlers[:] = handlers


@pytest.fixture
def out():
    stream = io.StringIO()
    log.setup("json", stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def said(stream: io.StringIO) -> dict[str, object]:
    [line] = lines(stream)
    return {name: value for name, value in line.items() if name not in ("time", "level")}


def test_an_event_is_one_line_of_json_with_its_fields(out):
    log.get(source="crm").info("run.done", added=3, seconds=0.5, notes=("a\nb",), last=None, full=True)
    [line] = lines(out)
    assert list(line)[:3] == ["time", "level", "event"]
    assert line["time"].endswith("Z")
    assert said(out) == {
        "event": "run.done",
        "source": "crm",
        "added": 3,
        "seconds": 0.5,
        "notes": ["a\nb"],
        "last": None,
        "full": True,
    }


def test_auto_is_for_people_on_a_terminal_and_json_elsewhere():
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        log.setup("auto", stream)
        log.get().info("run.done", source="crm")
    assert "run.done" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert said(pipe) == {"event": "run.done", "source": "crm"}


def test_what_is_below_the_level_is_not_said():
    out = io.StringIO()
    log.setup("json", out, level=logging.WARNING)
    log.get().info("run.done")
    logging.getLogger("aiohttp.server").info("hello")
    log.get().warning("run.held")
    assert [line["event"] for line in lines(out)] == ["run.held"]


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "security_key",
        "clientSecret",
        "X-Execution-Token",
        "Authorization",
        "api_key",
        "apikey",
        "qsSecuritykey",
        "Set-Cookie",
        "key",
        "PGPASSWORD",
        "preauth_key",
    ],
)
def test_values_named_like_secrets_are_hidden_however_deep(out, name):
    log.get().info("e", **{name: "geheim"}, headers={name: ["geheim"]}, rows=[{"a": {name: 12345}}])
    assert said(out) == {"event": "e", name: "***", "headers": {name: "***"}, "rows": [{"a": {name: "***"}}]}


@pytest.mark.parametrize("name", ["monkey", "source", "keyboard", "path", "author", "passed", "number"])
def test_other_names_are_shown(out, name):
    log.get().info("e", **{name: "shown"})
    assert said(out) == {"event": "e", name: "shown"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:geheim@h:8000/a?x=geheim#geheim", "https://h:8000/a?***"),
        (
            "got 500 from https://h/api.aspx?qsSecuritykey=geheim&qsValue=%7B%7D, later",
            "got 500 from https://h/api.aspx?***",
        ),
        ("postgresql://bridge:geheim@db1,db2/bridge", "postgresql://db1,db2/bridge"),
        ("https://h/pbxsync/salesforce/me/geheim+tok", "https://h/pbxsync/***"),
        ("GET /pbxsync/zimbradownload/h/me/geheim HTTP/1.1", "GET /pbxsync/*** HTTP/1.1"),
        ("GET /provisioning?username=a&password=geheim HTTP/1.1", "GET /provisioning?*** HTTP/1.1"),
        ("Authorization: Basic Z2VoZWltOng=", "Authorization: ***"),
        ("sent Bearer geheimABC123 to it", "sent Bearer *** to it"),
        ('{"password": "geheim", "a": 1}', '{"password": ***, "a": 1}'),
        ("client_secret=geheim&grant_type=password", "client_secret=***&grant_type=password"),
        ("host=db password=geheim dbname=x", "host=db password=*** dbname=x"),
        ("-----BEGIN PRIVATE KEY-----\ngeheim\n-----END PRIVATE KEY-----", "***"),
        ("the server wants Basic authentication, not a token", "the server wants Basic authentication, not a token"),
        ("https://dav.example.com/books/staff/", "https://dav.example.com/books/staff/"),
        ("14:05 1/2 done, +352 621 123 456", "14:05 1/2 done, +352 621 123 456"),
    ],
)
def test_texts_lose_their_credentials_and_keep_the_rest(out, text, shown):
    log.get().info("e", text=text)
    assert said(out)["text"].startswith(shown)
    assert "geheim" not in out.getvalue()
    log.get().info(text)
    assert "geheim" not in out.getvalue()


def test_secrets_that_were_told_are_struck_out_in_every_spelling(out):
    log.hide(["p/ss wörd&x", keys.Secret("0123456789"), "abc"])
    texts = ["p/ss wörd&x", "p%2Fss%20w%C3%B6rd%26x", "p%2Fss+w%C3%B6rd%26x", "cC9zcyB3w7ZyZCZ4", "x0123456789y"]
    log.get().info("e", texts=texts, n="abc", deep={"0123456789": 1})
    assert said(out) == {"event": "e", "texts": ["***", "***", "***", "***", "x***y"], "n": "abc", "deep": {"***": 1}}


def test_a_secret_is_hidden_wherever_it_is_put(out):
    source = keys.CardDav(url="https://dav.example.com", username="u", password="geheim")
    secret = source.password
    log.get().info(f"e {secret}", a=secret, b=[secret], c={"x": secret}, d=source, e={secret: 1}, f=(secret, {secret}))
    assert "geheim" not in out.getvalue()


def test_exceptions_are_told_without_locals_and_without_secrets(out):
    # The lines of code of a traceback are shown, so the secret stands in none of them.
    secret = "".join(("ge", "heim"))

    def fail(password: str) -> None:
        raise ConnectionError(f"https://h/?key={password}\npassword={password}")

    try:
        try:
            fail(secret)
        except ConnectionError as failed:
            raise ValueError(f"Bearer {secret}12345") from failed
    except ValueError:
        log.get().exception("run.failed", source="crm")
    told = said(out)
    assert "geheim" not in out.getvalue()
    assert told["exception"][-1] == "ValueError: Bearer ***"
    assert any("in fail" in line for line in told["exception"])
    assert told["event"] == "run.failed"


def test_an_exception_as_a_value_is_its_type_and_words(out):
    log.get().warning("sink.later", error=OSError("https://h/?key=geheim is away"))
    assert said(out)["error"] == "OSError: https://h/?*** is away"


def test_the_standard_librarys_loggers_go_the_same_way(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    log.setup("json", out)
    logging.getLogger("aiohttp.server").error("bad %s", "https://h/?key=geheim")
    try:
        raise ValueError("geheim=1 token=geheim")
    except ValueError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved\nfuture: <Task>")
    logging.getLogger("aiohttp.access").info("GET /services/Lookup")
    logging.getLogger("odd").log(35, "%d of %s", "x")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old thing", UserWarning, stacklevel=1)
    first, second, third, fourth = lines(out)
    assert (first["origin"], first["level"], first["event"]) == ("aiohttp.server", "error", "bad https://h/?***")
    assert (second["origin"], second["exception"][-1]) == ("asyncio", "ValueError: geheim=1 token=***")
    assert (third["origin"], third["level"], third["event"]) == ("odd", "warning", "%d of %s ('x',)")
    assert (fourth["origin"], "old thing" in fourth["event"]) == ("py.warnings", True)


def test_setting_up_again_takes_the_place_of_the_first():
    first, second = io.StringIO(), io.StringIO()
    log.setup("json", first)
    logger = log.get()
    log.setup("json", second)
    logger.info("a")
    logging.getLogger("x").warning("b")
    assert first.getvalue() == ""
    assert [line["event"] for line in lines(second)] == ["a", "b"]


def test_no_name_writes_a_line_of_its_own_or_moves_the_cursor():
    out = io.StringIO()
    log.setup("console", out)
    log.get().info("lookup.done\n2026 [error] forged", name="Eve\r\n\x1b[2J\x9b2J\u2028x", rows=["a\nb"])
    assert out.getvalue().count("\n") == 1
    assert not {"\x1b", "\x9b", "\r", "\u2028"} & set(out.getvalue())


def test_endless_and_odd_values_are_cut_and_told(out):
    log.get().info("e", long="x" * 5000, bytes=b"\xff", lone="\ud800", deep=[[[[[[[["x"]]]]]]]], big=2**70)
    told = said(out)
    assert told["long"] == "x" * 2000 + "… (5000 characters)"
    assert told["bytes"] == "b'\\xff'"
    assert told["lone"] == "\\ud800"
    assert told["big"] == str(2**70)
    assert out.getvalue().count("\n") == 1


def test_a_url_that_is_cut_shows_no_credentials(out):
    log.get().info("e", text="x" * 1990 + " https://user:geheimgeheim@host/")
    assert "geheim" not in out.getvalue()


class Stuck(io.StringIO):
    """Takes a line only once it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self.tried = threading.Event()

    def write(self, text: str) -> int:
        self.tried.set()
        self.goes_on.wait(10)
        return super().write(text)


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_nobody_waits_for_a_log_that_is_stuck_and_nothing_is_lost_once_it_is_not():
    stream = Stuck()
    log.setup("json", stream, aside=True)
    for n in range(100):
        log.get().info("e", n=n)
    assert stream.tried.wait(10)
    assert not stream.getvalue()
    stream.goes_on.set()
    until(lambda: stream.getvalue().count("\n") == 100)
    assert [line["n"] for line in lines(stream)] == list(range(100))


def test_what_a_stuck_log_has_no_room_for_is_counted_and_said():
    stream = Stuck()
    aside = log.Aside(stream, most=10)
    log.setup("json", aside)
    log.get().info("e", n=0)
    assert stream.tried.wait(10)  # it is being written, and waits no more
    for n in range(1, 31):
        log.get().info("e", n=n)
    stream.goes_on.set()
    until(lambda: "left_out" in stream.getvalue())
    *written, last = lines(stream)
    assert [line["n"] for line in written] == list(range(11))
    assert (last["event"], last["level"], last["lines"]) == ("log.left_out", "warning", 20)


def test_a_log_that_nobody_reads_any_more_or_a_full_disk_is_no_error():
    with open("/dev/full", "w") as full:
        aside = log.Aside(full)
        log.setup("json", aside)
        log.get().info("e")
        aside.close(10)
        assert not aside._thread.is_alive()
        with contextlib.suppress(OSError):
            full.close()


def test_what_waits_at_the_end_of_a_process_is_written():
    program = "from bridge import log; log.setup('json', aside=True); [log.get().info('e', n=n) for n in range(500)]"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [json.loads(line)["n"] for line in done.stderr.splitlines()] == list(range(500))
