"""All records of a module that meet a condition, whatever happens to them while they are read.

The server cannot be made to sort: an `order_by` with a table is ignored, one without is an error where tables are
joined. And an offset into what is not sorted, or what changes meanwhile, loses rows. So nothing is paged: the ids are
divided into ranges, each small enough to come whole in one answer. An id never changes, so no record moves from one
range to another. A range that turns out too large is divided again, at an id that the server itself put within it;
so its way to sort ids need not be known.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from bridge import client, errors
from bridge.sources.suitecrm import entries
from bridge.sources.suitecrm.service import Service

AT_ONCE = 1000
"""Records asked for in one call; fewer where the server does not manage them in time."""
FEWEST = 50
FILL = 0.75
"""How full a range is planned to be: ids made at random are spread evenly, but not exactly."""

_SAFE = re.compile(r"[A-Za-z0-9_.:@{}-]{1,64}")


@dataclass(frozen=True, slots=True)
class Range:
    """Ids from `low` on, below `high`; "" is no bound."""

    low: str = ""
    high: str = ""


@dataclass(slots=True)
class Size:
    """How many records an answer brings: asked for, the most that ever came, and whether the server caps them."""

    asked: int = field(default_factory=lambda: AT_ONCE)
    reached: int = 0
    capped: bool = False

    @property
    def room(self) -> int:
        """Records that an answer has room for."""
        return max(1, min(self.asked, self.reached)) if self.capped else self.asked


def quote(text: str) -> str:
    """A text as a literal of a condition; ValueError where it holds anything that an id or a time does not."""
    if not _SAFE.fullmatch(text.replace(" ", "-")):
        raise ValueError("not an id or a time")
    return f"'{text}'"


class Listing:
    """Reads `fields` of the records of `module` under `condition`, the deleted ones too if asked for."""

    def __init__(
        self,
        service: Service,
        module: str,
        fields: Sequence[str],
        condition: str = "",
        *,
        deleted: bool = False,
        size: Size | None = None,
    ) -> None:
        self._service = service
        self._module = module
        self._table = module.lower()
        self._fields = list(fields)
        self._condition = condition
        self._deleted = deleted
        self._size = size or Size()
        self._what = f"{service.host}: a list of {module}"
        self._calls = 0

    async def pages(self) -> AsyncGenerator[Sequence[entries.Row]]:
        """The records, an answer at a time; each that is there throughout comes once."""
        ranges = [Range()]
        while ranges:
            part = ranges.pop()
            listed = await self._whole(part)
            if listed.total >= 0:
                ranges += reversed(self._divided(part, listed))
            elif listed.rows:
                yield listed.rows

    async def total(self) -> int:
        """How many there are, as far as this login sees them."""
        listed = await self._ask(Range(), fields=["id"], most=1)
        return listed.total if listed.total >= 0 else await self._count(Range())

    async def _whole(self, part: Range) -> entries.Listed:
        """What is in a range: `total` is -1 where that is all of it, else how many there are, and `rows` are some."""
        listed = await self._within(part)
        size = self._size
        if listed.total < 0:
            whole = listed.count < size.asked and (listed.count < size.reached or not await self._beyond(part, listed))
            total = -1 if whole else max(await self._count(part), listed.count + 1)
        else:
            if listed.count < listed.total and listed.count < size.asked:
                # Deleted between the server's counting and its listing, or the server gives no more at once.
                listed = await self._within(part)
                size.capped |= listed.count < min(listed.total, size.asked)
            total = -1 if listed.count >= listed.total else listed.total
        size.reached = max(size.reached, listed.count)
        if total > 0 and not listed.rows:
            raise errors.Unavailable(f"{self._what} counts {total} and gives none")
        return entries.Listed(listed.rows, listed.missing, listed.count, total)

    async def _beyond(self, part: Range, listed: entries.Listed) -> bool:
        """Whether more is behind an answer that is shorter than was asked for, on a server that does not count."""
        more = (await self._ask(part, offset=listed.count)).count > 0
        self._size.capped |= more
        return more

    async def _within(self, part: Range) -> entries.Listed:
        while True:
            try:
                return await self._ask(part)
            except client.TooMuch:
                if self._size.asked // 2 < FEWEST:
                    raise
                self._size.asked //= 2

    def _divided(self, part: Range, listed: entries.Listed) -> list[Range]:
        """The ranges that a range with too much in it is read by."""
        self._calls += 1
        if self._calls > 64 + 16 * listed.total // self._size.room:
            raise errors.Unavailable(f"{self._what} does not keep to the ids asked for")
        if part == Range():
            pieces = -(-listed.total // max(1, int(self._size.room * FILL)))
            bounds = sorted({f"{0x10000 * n // pieces:04x}" for n in range(1, pieces)})
        else:
            bounds = [self._middle(part, listed)]
        edges = [part.low, *bounds, part.high]
        return [Range(low, high) for low, high in itertools.pairwise(edges)]

    def _middle(self, part: Range, listed: entries.Listed) -> str:
        """The id in the middle of those that came, of those that can divide the range."""
        ids = sorted(row["id"] for row in listed.rows if row["id"] != part.low and _SAFE.fullmatch(row["id"]))
        if not ids:
            raise errors.Unavailable(f"{self._what} cannot be divided: it gives one record at a time, or odd ids")
        return ids[len(ids) // 2]

    def _where(self, part: Range) -> str:
        bounds = ((">=", part.low), ("<", part.high))
        terms = [f"{self._table}.id {sign} {quote(bound)}" for sign, bound in bounds if bound]
        return " AND ".join([self._condition, *terms] if self._condition else terms)

    async def _ask(self, part: Range, *, offset: int = 0, fields: Sequence[str] = (), most: int = 0) -> entries.Listed:
        arguments = {
            "module_name": self._module,
            "query": self._where(part),
            "order_by": "",
            "offset": offset,
            "select_fields": fields or self._fields,
            "link_name_to_fields_array": [],
            "max_results": most or self._size.asked,
            "deleted": int(self._deleted),
            "favorites": False,
        }
        return entries.read(await self._service.ask("get_entry_list", arguments), self._what)

    async def _count(self, part: Range) -> int:
        """How many rows there are, whether this login sees them or not."""
        arguments = {"module_name": self._module, "query": self._where(part), "deleted": int(self._deleted)}
        answer = await self._service.ask("get_entries_count", arguments)
        match self._service.document("get_entries_count", answer):
            case {"result_count": str() | int() as count} if re.fullmatch("[0-9]{1,9}", str(count)):
                return int(count)
        raise errors.Unavailable(f"{self._what} is not counted")
