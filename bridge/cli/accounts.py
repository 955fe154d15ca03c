"""`bridge account`: who may fetch SIP accounts, and what each device was given.

Passwords come from a prompt, from standard input or from the CSV: a command line is for all to read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge import accounts, assembly, errors
from bridge.accounts import details, giving, saving, sheet
from bridge.accounts.details import FIELDS, OF_PAGE, Change
from bridge.accounts.passwords import Passwords
from bridge.accounts.sheet import Bad
from bridge.cli import delivery, options, output, session
from bridge.config import Config, Tenant
from bridge.keys import Secret
from bridge.store import Store

_PATIENCE = 30.0
_CHUNK = 1 << 16

app = typer.Typer(help="The softphone accounts.", rich_markup_mode=None, no_args_is_help=True)
UserName = Annotated[str, typer.Argument(metavar="USERNAME")]


def _field(name: str, help: str) -> Any:
    return typer.Option(f"--{name}", metavar="TEXT", help=help, show_default=False)


@app.command("list")
def show(
    as_json: options.AsJson = False,
    tenant: options.TenantName = options.MAIN,
    config: options.ConfigFile = None,
) -> None:
    """List the accounts, and what each of their devices was last given and when."""
    told = session.load(config)
    found = session.run(_listed(told, options.tenant(told, tenant)))
    if as_json:
        output.document({"accounts": [_public(account) for account in found]})
        return
    output.table(("user", "state", "sipusername", "extension", "name", "changed"), map(_row, found))
    devices = [(account.username, device) for account in found for device in account.devices]
    if devices:
        rows = [(name, one.device or "(none)", _gift(one.given), one.given_at) for name, one in devices]
        output.table(("user", "device", "last given", "when"), rows)
    if not found:
        output.tell("there is no account")


@app.command("set")
def change(
    username: UserName,
    sipusername: Annotated[str | None, _field("sipusername", "The user at the PBX.")] = None,
    subdomain: Annotated[str | None, _field("subdomain", "The part in front of the portal's domain.")] = None,
    authusername: Annotated[str | None, _field("authusername", "Whom the PBX authenticates, if another.")] = None,
    transport: Annotated[str | None, _field("transport", "UDP, TCP or TLS.")] = None,
    srtp: Annotated[str | None, _field("srtp", "Enabled or Disabled.")] = None,
    proxy: Annotated[str | None, _field("proxy", "The outbound proxy.")] = None,
    messaging: Annotated[str | None, _field("messaging", "Enabled or Disabled.")] = None,
    video: Annotated[str | None, _field("video", "Enabled or Disabled.")] = None,
    callrecording: Annotated[str | None, _field("callrecording", "Enabled or Disabled.")] = None,
    extension: Annotated[str | None, _field("extension", "The extension that a PBX is told of.")] = None,
    firstname: Annotated[str | None, _field("firstname", "Of whom has the extension.")] = None,
    lastname: Annotated[str | None, _field("lastname", "Of whom has the extension.")] = None,
    email: Annotated[str | None, _field("email", "Of whom has the extension.")] = None,
    callerid: Annotated[str | None, _field("callerid", "The number that the extension shows.")] = None,
    enable: Annotated[bool, typer.Option("--enable", help="Undo `bridge account disable`.")] = False,
    keep: Annotated[bool, typer.Option("--keep-passwords", help="Ask for no password and read none.")] = False,
    as_json: options.AsJson = False,
    tenant: options.TenantName = options.MAIN,
    config: options.ConfigFile = None,
) -> None:
    """Make an account, or change one.

    What is not named stays; "" clears it. Both passwords are asked for; elsewhere than on a terminal, standard input
    holds them: the login's on the first line, the SIP account's on the second. An empty one stays as it is.
    """
    texts = {name: text for name, text in locals().items() if name in FIELDS and text is not None}
    told = session.load(config)
    place = options.tenant(told, tenant)
    passwords = {} if keep else dict(zip(("password", "sippassword"), _passwords(), strict=False))
    try:
        asked = details.change({"username": username, **texts, **passwords})
    except errors.Refused as wrong:
        raise typer.BadParameter(str(wrong)) from None
    done = session.run(_save(told, place, [(0, asked)], enable=enable))
    for bad in done.bad:
        output.tell(f"{username}: {bad.reason}")
    if as_json:
        output.document({"username": asked.username, "result": "refused" if done.bad else done.only})
    elif not done.bad:
        output.say(output.line(asked.username, [("result", done.only)]))
    raise typer.Exit(_ended(done))


@app.command("import")
def take(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Columns: " + ", ".join(details.COLUMNS) + ".")],
    as_json: options.AsJson = False,
    tenant: options.TenantName = options.MAIN,
    config: options.ConfigFile = None,
) -> None:
    """Make and change accounts from a CSV; nobody is removed.

    A column that is not there changes nothing, nor does an empty password; an empty cell else clears what it stands
    for. Exit code 1: rows were refused, which are named by their numbers, and the others went in.
    """
    told = session.load(config)
    place = options.tenant(told, tenant)
    rows = list(sheet.read(_chunks(file)))
    bad = [row for row in rows if isinstance(row, Bad)]
    done = session.run(_save(told, place, [row for row in rows if not isinstance(row, Bad)]))
    done = _Done(done.fates, sorted([*bad, *done.bad], key=lambda row: row.row), done.undelivered)
    for one in done.bad:
        output.tell(f"{file}: row {one.row}: {one.reason}")
    counts = [(fate, sum(one == fate for one in done.fates)) for fate in ("added", "changed", "unchanged")]
    if as_json:
        refused = [{"row": one.row, "reason": one.reason} for one in done.bad]
        output.document({**dict(counts), "refused": refused})
    else:
        output.say(output.line(str(file), [*counts, ("refused", len(done.bad))]))
    raise typer.Exit(_ended(done))


@app.command("disable")
def disable(username: UserName, tenant: options.TenantName = options.MAIN, config: options.ConfigFile = None) -> None:
    """Have a user's softphones lose their SIP accounts, at their next start.

    `bridge account set USERNAME --enable` undoes it. An extension stays.
    """
    told = session.load(config)
    place = options.tenant(told, tenant)
    changed = session.run(_disable(told, place, details.username(username)))
    output.say(output.line(username, [("result", "disabled" if changed else "unchanged")]))


@app.command("delete")
def delete(username: UserName, tenant: options.TenantName = options.MAIN, config: options.ConfigFile = None) -> None:
    """Forget an account and its devices.

    Softphones that have its SIP account keep it: to take it from them, disable the account first. Its extension goes
    where the sink has `delete_extensions = true`.
    """
    told = session.load(config)
    done = session.run(_delete(told, options.tenant(told, tenant), details.username(username)))
    output.say(output.line(username, [("result", "deleted")]))
    raise typer.Exit(_ended(done))


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of accounts, and of the sinks that were told of their extensions."""

    fates: Sequence[saving.Fate] = ()
    bad: Sequence[Bad] = ()
    undelivered: Mapping[str, str] = field(default_factory=dict)

    @property
    def only(self) -> str:
        return self.fates[0]


async def _listed(told: Config, tenant: Tenant) -> list[accounts.Account]:
    async with session.opened(told) as db:
        return await accounts.listed(db, tenant.name)


async def _save(told: Config, tenant: Tenant, rows: Sequence[tuple[int, Change]], *, enable: bool = False) -> _Done:
    takers = assembly.extension_takers(tenant)
    key = tenant.provisioning.key if tenant.provisioning else Secret()
    passwords = Passwords(os.cpu_count() or 1)
    try:
        seal = await giving.seal(key, told.state_dir, make=True)
        async with session.opened(told) as db:
            made = await saving.save(db, tenant.name, [change for _, change in rows], seal, passwords, takers)
            switched = enable and await accounts.switch(db, tenant.name, rows[0][1].username, disabled=False)
            fates = [fate for fate in made if not isinstance(fate, errors.Refused)]
            bad = [
                Bad(at, str(one)) for (at, _), one in zip(rows, made, strict=True) if isinstance(one, errors.Refused)
            ]
            if switched:
                fates = ["changed"]
            told_sinks = any(fate != "unchanged" for fate in fates)
            return _Done(fates, bad, await _deliver(db, told, tenant) if told_sinks else {})
    finally:
        passwords.close()


async def _disable(told: Config, tenant: Tenant, username: str) -> bool:
    async with session.opened(told) as db:
        await _known(db, tenant, username)
        return await accounts.switch(db, tenant.name, username, disabled=True)


async def _delete(told: Config, tenant: Tenant, username: str) -> _Done:
    async with session.opened(told) as db:
        await _known(db, tenant, username)
        await saving.delete(db, tenant.name, username, assembly.extension_takers(tenant))
        return _Done(undelivered=await _deliver(db, told, tenant))


async def _known(db: Store, tenant: Tenant, username: str) -> None:
    """The command line is wrong where there is no such account."""
    options.one_of(username, [account.username for account in await accounts.listed(db, tenant.name)], "account")


async def _deliver(db: Store, told: Config, tenant: Tenant) -> Mapping[str, str]:
    """Wait until the sinks that take extensions have what changed; the reasons of those that have not."""
    takers = assembly.extension_takers(tenant)
    undelivered = await delivery.deliver(db, told, tenant, _PATIENCE) if takers else {}
    return {sink: reason for sink, reason in undelivered.items() if sink in takers}


def _ended(done: _Done) -> int:
    """Say which sinks were not told; the exit code."""
    for sink, reason in done.undelivered.items():
        output.tell(f"{sink}: has not taken its pushes yet: {reason}")
    return output.FAILED if done.bad or done.undelivered else output.DONE


def _passwords() -> list[str]:
    """The login's and the SIP account's; fewer, or "", where they stay."""
    if not sys.stdin.isatty():
        return [line.rstrip("\r\n") for line, _ in zip(sys.stdin, range(2), strict=False)]
    return [_prompted("Login password"), _prompted("SIP password")]


def _prompted(what: str) -> str:
    asked: str = typer.prompt(
        f"{what} (empty: as it is)", default="", show_default=False, hide_input=True, confirmation_prompt=True, err=True
    )
    return asked


def _chunks(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as source:
            while chunk := source.read(_CHUNK):
                yield chunk
    except OSError as fault:
        raise errors.Unavailable(f"{file} cannot be read: {fault.strerror or fault}") from None


def _row(account: accounts.Account) -> Sequence[output.Value]:
    held = account.details
    name = f"{held.firstname} {held.lastname}".strip()
    state = "disabled" if account.disabled else "enabled"
    return account.username, state, held.sipusername, held.extension or None, name or None, account.changed_at


def _gift(given: Sequence[Mapping[str, str]]) -> str:
    """SIP accounts in few words."""
    words = [
        ", ".join([one["sipusername"], *(f"{k}={v}" for k, v in one.items() if k in OF_PAGE[1:])]) for one in given
    ]
    return "; ".join(words) or "nothing"


def _public(account: accounts.Account) -> dict[str, Any]:
    told = {name: getattr(account.details, name) for name in FIELDS}
    devices = [{"device": one.device, "given": one.given, "given_at": one.given_at} for one in account.devices]
    return {
        "username": account.username,
        "disabled": account.disabled,
        **told,
        "changed_at": account.changed_at,
        "devices": devices,
    }
