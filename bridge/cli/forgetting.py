"""`bridge forget`: erase a person everywhere, with proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from bridge import approval, assembly, bookshelf, forget, lookup, phonebooks
from bridge.cli import delivery, options, output, session
from bridge.config import Config, Tenant
from bridge.forget import Found, Who
from bridge.store import Store
from bridge.sync import Job

_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Erased:
    """What was found of a person, what of it is still there, and which sinks have not taken their deletes yet.

    `staying` is what no sink is to take away; `silent`: so many processes did not say that they threw away what they
    keep beside the database.
    """

    found: Sequence[Found]
    left: frozenset[Found]
    staying: frozenset[Found]
    undelivered: Mapping[str, str]
    silent: int

    def state(self, one: Found) -> str:
        """What became of a trace."""
        return "stays" if one in self.staying else "waits" if one in self.left else "gone"

    @property
    def done(self) -> bool:
        """Whether all is gone that is to go."""
        return not (self.undelivered or self.silent or self.left - self.staying)


def erase(
    who: Annotated[str, typer.Argument(metavar="NUMBER|EMAIL", help="A number of the person's own, or an address.")],
    undo: Annotated[bool, typer.Option("--undo", help="Let the person in again, with the next full run.")] = False,
    as_json: options.AsJson = False,
    tenant: options.TenantName = options.MAIN,
    config: options.ConfigFile = None,
) -> None:
    """Erase a person from the store, the sinks, the accounts and the phone books, and keep them out of later runs.

    Everybody goes whose own number or address it is; a company's number, or a caller id that several extensions show,
    is nobody's own. All that stays is a salted hash, and an extension at a sink without `delete_extensions`. Exit code
    1: a sink has not taken its deletes yet; they wait and go by themselves.
    """
    told = session.load(config)
    place = options.tenant(told, tenant)
    wanted = _wanted(place, who)
    if undo:
        known = session.run(_undo(told, place, wanted))
        output.tell("let in again with the next full run" if known else "nobody was kept out for it")
        raise typer.Exit(output.DONE if known else output.FAILED)
    erased = session.run(_erase(told, place, wanted))
    rows = [(one.place, one.what, erased.state(one)) for one in erased.found]
    if as_json:
        output.document({"found": [{"place": place, "what": what, "state": state} for place, what, state in rows]})
    else:
        output.table(("found in", "what", "now"), rows)
    if not rows:
        output.tell("nothing was held; it is kept out from now on")
    for sink, reason in erased.undelivered.items():
        output.tell(f"{sink}: has not taken its deletes yet: {reason}")
    if erased.staying:
        output.tell("extensions stay where a sink has not delete_extensions = true: take them away there by hand")
    if erased.silent:
        output.tell(f"{erased.silent} processes have not thrown away what they keep yet: see the log of bridge")
    raise typer.Exit(output.DONE if erased.done else output.FAILED)


def _wanted(place: Tenant, text: str) -> list[Who]:
    """Whom the text may mean, the likeliest first."""
    if "@" in text:
        return [Who(email=text.strip())]
    keys = lookup.readings(lookup.directory(place), text)
    if not keys:
        raise typer.BadParameter(f"{text!r} is neither a number nor an e-mail address")
    return [Who(keys=(key,)) for key in keys]


async def _erase(told: Config, place: Tenant, wanted: Sequence[Who]) -> Erased:
    async with session.opened(told) as db:
        await delivery.enrol(db, told)
        who = await _meant(db, place, wanted)
        takers = assembly.extension_takers(place)
        before, wiped = await forget.forget(db, place, who, await _jobs(db, place), takers)
        thrown = (
            dict(wiped.gone) if wiped.heard or wiped.silent else {"finished phone books": await _swept(db, told, place)}
        )
        undelivered = await delivery.deliver(db, told, place, _PATIENCE)
        async with db.pooled() as connection:
            after = await forget.find(connection, place, who, before)
        kept = [Found(what, str(count)) for what, count in thrown.items() if count]
        return Erased([*before.found, *kept], frozenset(after.found), after.staying, undelivered, wiped.silent)


async def _swept(db: Store, told: Config, place: Tenant) -> int:
    """Throw away the books that a daemon left behind, where none is there to do so."""
    books = [phonebooks.recipe(one, name) for one in told.tenants.values() for name in one.phonebooks]
    return await bookshelf.sweep(db, bookshelf.folder(told.state_dir), books, place.name)


async def _meant(db: Store, place: Tenant, wanted: Sequence[Who]) -> Who:
    """The first reading that anybody has, as for a lookup; else the likeliest."""
    async with db.pooled() as connection:
        for who in wanted:
            if (await forget.find(connection, place, who)).found:
                return who
    return wanted[0]


async def _jobs(db: Store, place: Tenant) -> Mapping[str, Job]:
    left = await approval.retired(db, place.name)
    jobs = {name: assembly.job(place, name) for name in place.sources}
    return jobs | {name: assembly.leftover(place, name) for name in left}


async def _undo(told: Config, place: Tenant, wanted: Sequence[Who]) -> bool:
    async with session.opened(told) as db:
        return any([await forget.undo(db, place.name, who) for who in wanted])
