"""The phone books of a daemon, each made once a change and kept in files until the next, within bounds.

Whoever asks gets the edition of the contacts as they are now. While it is made all wait for that one making; where it
takes long, an edition is there from before, and they get that one. None is ever short: where the contacts cannot be
read whole there is no edition.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from bridge import editions, errors, log, phonebooks, recent, wiping
from bridge.editions import Copy, Edition, Order
from bridge.formats import FORMATS, Format
from bridge.phonebooks import Moment, Recipe
from bridge.store import Store

MOST = 2 << 30
"""Bytes of finished files; beyond, those go that were not asked for the longest."""
_LOOK = 1.0
"""Seconds that a look at the sources is good for, however many ask."""
_LOOK_WITHIN = 5.0
_PATIENCE = 5.0
"""Seconds that a new edition is waited for by those who can have the last one."""
_LARGE = 5_000
"""Contacts beyond which a book is made by a process of its own: to start one takes as long as to make these."""
_AT_ONCE = 2
_LONG, _SHARE = 2.0, 4.0
"""A making that takes longer than so many seconds is followed by a pause of so many times as long: a large book of a
source that changes all the time takes a bounded share of the machine."""
_TEND = 60.0
_NAME = "phonebooks"
_LOG = log.get()


def folder(state_dir: Path) -> Path:
    """Where a daemon keeps its books: in systemd's cache directory, if there is one."""
    given = os.environ.get("CACHE_DIRECTORY", "").split(":")[0]
    return (Path(given).absolute() if given else state_dir) / _NAME


def linked_folder(state_dir: Path) -> Path:
    """The same, for the daemon: systemd tells it alone, so a link shows commands the way."""
    place, link = folder(state_dir), state_dir / _NAME
    with contextlib.suppress(OSError):
        if link.is_symlink() and (place != link or not link.exists()):
            link.unlink()
        if place != link:
            if link.exists():
                shutil.rmtree(link)  # from before there was a cache directory: nobody tends it any more
            link.symlink_to(place)
    return place


class _Shelf:
    """One book in one format."""

    def __init__(self, order: Order, edition: Edition | None) -> None:
        self.order = order
        self.edition = edition
        self.moment = Moment("", 0)
        self.good_until = self.asked_at = self.rest_until = self.begun_at = float("-inf")
        self.looking: asyncio.Task[Moment] | None = None
        self.making: asyncio.Task[Edition] | None = None
        self.fault: errors.Unavailable | None = None

    @property
    def size(self) -> int:
        return self.edition.plain.size + self.edition.packed.size if self.edition else 0

    @property
    def tasks(self) -> Iterator[asyncio.Task[Moment] | asyncio.Task[Edition]]:
        yield from (task for task in (self.looking, self.making) if task)


class Bookshelf:
    """All books in all formats; files of books that `stock` does not name are deleted.

    `dsn`: where a process of its own finds the database; without one every book is made in this process.
    `forget`: lets go of what else this process holds of a tenant's ("": of all) contacts, where somebody was erased.
    """

    def __init__(
        self,
        db: Store,
        place: Path,
        *,
        dsn: str = "",
        forget: Callable[[str], None] = lambda tenant: None,
        most: int = MOST,
        look: float = _LOOK,
        patience: float = _PATIENCE,
        large: int = _LARGE,
    ) -> None:
        self._db, self._place, self._dsn, self._forget = db, place, dsn, forget
        self._most, self._look_every, self._patience, self._large = most, look, patience, large
        self._orders: dict[tuple[Recipe, Format], Order] = {}
        self._shelves: dict[tuple[Recipe, Format], _Shelf] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def orders(self, books: Iterable[Recipe]) -> list[Order]:
        """What `stock` takes of these books, in all formats; for thousands it takes a while, in any thread."""
        return [editions.order(book, format, self._place) for book in books for format in FORMATS]

    def stock(self, orders: Iterable[Order]) -> None:
        """From now on there are these books and no others."""
        self._orders = {(order.book, order.format): order for order in orders}
        for asked in self._shelves.keys() - self._orders.keys():
            if making := self._shelves.pop(asked).making:
                making.cancel()
        left = editions.found(self._place)
        for asked, order in self._orders.items():
            if (earlier := left.pop(order.key, None)) and asked not in self._shelves:
                self._shelves[asked] = _Shelf(order, earlier)
        for edition in left.values():
            self._delete(edition)

    def current(self, book: Recipe, format: Format) -> Edition | None:
        """The edition where a look was taken just now, and it is of that moment."""
        shelf = self._shelf(book, format)
        now = shelf.asked_at = asyncio.get_running_loop().time()
        good = shelf.edition and now < shelf.good_until and shelf.edition.mark == shelf.moment.mark
        return shelf.edition if good else None

    async def edition(self, book: Recipe, format: Format) -> Edition:
        """The edition of now, or one that is at most as old as a making takes; raises Unavailable."""
        loop = asyncio.get_running_loop()
        shelf = self._shelf(book, format)
        moment = await self._look(shelf)
        shelf.asked_at = asked = loop.time()
        while True:
            if shelf.edition and shelf.edition.mark == moment.mark:
                return shelf.edition
            if not shelf.making and loop.time() < shelf.rest_until:
                if shelf.fault:
                    raise errors.Unavailable(str(shelf.fault))
                if shelf.edition:
                    return shelf.edition
            making = shelf.making if shelf.making and not shelf.making.done() else self._begin(shelf)
            late_enough = shelf.begun_at >= asked
            await asyncio.wait({making}, timeout=self._patience if shelf.edition else None)
            if not making.done():
                if shelf.edition:
                    return shelf.edition
                continue
            if making.cancelled():
                # Somebody was erased from it meanwhile, or there is no such book any more.
                shelf = self._shelf(book, format)
                moment, asked = await self._look(shelf), loop.time()
                continue
            made = making.result()
            # A making that had begun before this look may be of the time before it.
            if late_enough or made.mark == moment.mark:
                return made

    def open(self, copy: Copy) -> int:
        """A descriptor of a finished file, which stays readable whatever becomes of its name."""
        try:
            return os.open(self._place / copy.name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as fault:
            for shelf in self._shelves.values():
                if shelf.edition and copy in (shelf.edition.plain, shelf.edition.packed):
                    shelf.edition = None
            raise errors.Unavailable(f"{self._place / copy.name} is gone: {fault.strerror}") from fault

    async def run(self) -> None:
        """Delete what is outdated: within a minute, and at once where somebody was erased.

        Nobody is left in a file who was taken out of the book.
        """
        await asyncio.gather(self._tend_for_ever(), wiping.heed(self._db, self._wipe_all))

    async def _tend_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_TEND)
            await self.tend()

    async def _wipe_all(self, tenant: str) -> Mapping[str, int]:
        self._forget(tenant)
        return {"finished phone books": await self.wipe(tenant), "recent lookups": recent.wipe(tenant)}

    async def wipe(self, tenant: str = "") -> int:
        """Delete at once what is outdated of a tenant's books ("": of all), and end what is being made; how many.

        A book of which nobody can tell whether it is outdated goes too. Raises Unavailable where a file cannot be
        deleted.
        """
        shelves = [one for one in self._shelves.values() if tenant in ("", one.order.book.tenant)]
        marks: dict[Recipe, str] = {}
        gone = 0
        for shelf in shelves:
            shelf.good_until = float("-inf")
            if making := shelf.making:
                making.cancel()
                await asyncio.wait({making})
            book = shelf.order.book
            if shelf.edition and book not in marks:
                marks[book] = await self._mark(book)
            edition = shelf.edition
            if edition and edition.mark != marks.get(book):
                shelf.edition = None
                await asyncio.to_thread(self._erase, edition)
                gone += 1
        return gone

    async def _mark(self, book: Recipe) -> str:
        """The mark of now; "", which no edition has, where nobody can tell."""
        try:
            async with asyncio.timeout(_LOOK_WITHIN):
                return (await phonebooks.look(self._db, book)).mark
        except (errors.Unavailable, TimeoutError):
            return ""

    async def tend(self) -> None:
        """Delete the editions that are outdated and not about to be replaced, and what was never finished."""
        await asyncio.to_thread(editions.abandon, self._place)
        for shelf in list(self._shelves.values()):
            if shelf.edition and not shelf.making:
                with contextlib.suppress(errors.Unavailable):
                    moment = await self._look(shelf)
                    if shelf.edition and shelf.edition.mark != moment.mark and not shelf.making:
                        self._delete(shelf.edition)
                        shelf.edition = None

    async def close(self) -> None:
        """End what is under way; there are no books from now on."""
        tasks = [task for shelf in self._shelves.values() for task in shelf.tasks]
        self._orders, self._shelves = {}, {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _shelf(self, book: Recipe, format: Format) -> _Shelf:
        asked = book, format
        if asked not in self._orders:
            raise errors.Unavailable("the phone book has just left the configuration")
        if asked not in self._shelves:
            self._shelves[asked] = _Shelf(self._orders[asked], None)
        return self._shelves[asked]

    async def _look(self, shelf: _Shelf) -> Moment:
        """How the sources stand; one look serves all who ask meanwhile and for a while."""
        if asyncio.get_running_loop().time() < shelf.good_until:
            return shelf.moment
        if shelf.looking is None:
            shelf.looking = asyncio.create_task(self._take_look(shelf))
        return await asyncio.shield(shelf.looking)

    async def _take_look(self, shelf: _Shelf) -> Moment:
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(_LOOK_WITHIN):
                shelf.moment = await phonebooks.look(self._db, shelf.order.book)
            shelf.good_until = began + self._look_every
            return shelf.moment
        except TimeoutError:
            raise errors.Unavailable(f"the database does not answer within {_LOOK_WITHIN:.0f} s") from None
        finally:
            shelf.looking = None

    def _begin(self, shelf: _Shelf) -> asyncio.Task[Edition]:
        shelf.begun_at = asyncio.get_running_loop().time()
        shelf.making = asyncio.create_task(self._make(shelf))
        shelf.making.add_done_callback(lambda making: None if making.cancelled() else making.exception())
        return shelf.making

    async def _make(self, shelf: _Shelf) -> Edition:
        """A new edition in the place of the last one; what fails is not tried again at once if it took long."""
        loop = asyncio.get_running_loop()
        order, contacts = shelf.order, shelf.moment.contacts
        told = {"tenant": order.book.tenant, "sources": order.book.sources, "format": order.format}
        try:
            async with self._slots:
                shelf.begun_at = began = loop.time()
                try:
                    apart = self._dsn and contacts > self._large
                    made = await (editions.make_apart(self._dsn, order) if apart else editions.make(self._db, order))
                    shelf.fault = None
                except errors.Unavailable as fault:
                    shelf.fault = fault
                    _LOG.warning("phonebook.failed", **told, reason=str(fault))
                    raise
                finally:
                    took = loop.time() - began
                    shelf.rest_until = loop.time() + _SHARE * took if took > _LONG else float("-inf")
        finally:
            shelf.making = None
        _LOG.info("phonebook.made", **told, bytes=made.plain.size, seconds=round(took, 3))
        earlier, shelf.edition = shelf.edition, made
        if earlier:
            self._delete(earlier, but=made)
        self._make_room(shelf)
        return made

    def _make_room(self, kept: _Shelf) -> None:
        """Stay within bounds; the book that was just made stays in any case."""
        total = sum(shelf.size for shelf in self._shelves.values())
        for shelf in sorted(self._shelves.values(), key=lambda shelf: shelf.asked_at):
            if total <= self._most:
                return
            if shelf is not kept and shelf.edition:
                total -= shelf.size
                self._delete(shelf.edition)
                shelf.edition = None

    def _delete(self, edition: Edition, but: Edition | None = None) -> None:
        """Take its files away; who is reading them reads on."""
        stay = {copy.name for copy in (but.plain, but.packed)} if but else set()
        for copy in (edition.plain, edition.packed):
            if copy.name not in stay:
                with contextlib.suppress(OSError):
                    (self._place / copy.name).unlink(missing_ok=True)

    def _erase(self, edition: Edition) -> None:
        """The same, and nothing less."""
        for copy in (edition.plain, edition.packed):
            try:
                (self._place / copy.name).unlink(missing_ok=True)
            except OSError as fault:
                raise errors.Unavailable(f"{self._place / copy.name} cannot be deleted: {fault.strerror}") from fault


async def sweep(db: Store, place: Path, books: Iterable[Recipe], tenant: str) -> int:
    """Delete what a daemon that is not there left behind of a tenant's outdated books; how many were finished.

    `books`: those of all tenants; files of others go too.
    """
    shelf = Bookshelf(db, place)
    await asyncio.to_thread(editions.abandon, place, 0.0)
    shelf.stock(shelf.orders(books))
    return await shelf.wipe(tenant)
