"""Lines put into the notes of cards: read, edit, write back if nobody was faster."""

from __future__ import annotations

import datetime
import re
import urllib.parse
from collections.abc import Sequence

from bridge import client, errors
from bridge.actions import Action, Made
from bridge.sources.carddav import answers, discovery, hrefs, notes, questions

TRIES = 4
_GONE = frozenset((404, 410))
_UNSURE = frozenset((500, 502, 504))
_REFUSED = frozenset((400, 403, 405, 406, 409, 411, 413, 414, 415, 422, 423, 428, 431, 451, 501, 505, 507))
_KEPT_ESCAPE = re.compile(r"%(?:2F|[01][0-9A-F]|7F)")
_DOTS = re.compile(r"(?:^|/)\.\.?(?:/|$)")
_PLAIN = re.compile(r"[A-Za-z0-9._~/-]*")


class Writer:
    """Writes to the cards of one login's books; which books those are is found out once."""

    def __init__(self, http: client.Client, url: str, names: Sequence[str]) -> None:
        self._http = http
        self._url = url
        self._names = names
        self._books: Sequence[discovery.Book] = ()

    async def append(self, action: Action) -> Made:
        """Put the action's line into the note of its contact's card, if it is not there."""
        book = await self._book(action.contact)
        text, etags = notes.line(action, datetime.datetime.now(datetime.UTC)), set[str]()
        for _ in range(TRIES):
            card = await self._card(book, action.contact)
            if notes.holds(card.body, action.key):
                return Made(id=action.contact)
            etag = _etag(card)
            if await self._put(card, self._edited(card, text), etag):
                return Made(id=action.contact)
            etags.add(etag)
        if len(etags) == 1:
            raise _refusal(card.url, 412, "it takes no change of this card, though nobody else changed it")
        raise errors.Unavailable(f"{_host(card.url)}: the card was changed by others {TRIES} times while it was edited")

    async def _book(self, contact: str) -> discovery.Book:
        """The book that the card is in: nothing outside of the books that are read is written to."""
        if not contact:
            raise errors.Refused("NO_CONTACT", "an address book takes notes on its contacts only", absent=True)
        if not _DOTS.search(contact):
            if book := self._around(contact):
                return book
            self._books = await discovery.find(self._http, self._url, self._names)
            if book := self._around(contact):
                return book
        raise errors.Refused("404", f"{_host(self._url)} has no address book with this contact", absent=True)

    def _around(self, contact: str) -> discovery.Book | None:
        return next((book for book in self._books if contact.startswith(f"{book.place}/")), None)

    async def _card(self, book: discovery.Book, contact: str) -> client.Answer:
        """The card as it is now."""
        answer = await self._get(hrefs.at(book.url, _path(contact)))
        if answer.status in _GONE and not _PLAIN.fullmatch(contact) and (url := await self._spelled(book, contact)):
            answer = await self._get(url)
        if answer.status in _GONE:
            raise errors.Refused(str(answer.status), f"{_host(answer.url)} has this contact no more", absent=True)
        if answer.status == 403:
            raise _refusal(answer.url, 403, "it does not let this card be read")
        return answer

    async def _get(self, url: str) -> client.Answer:
        # Not compressed: some servers then name an ETag that their own PUT does not know.
        headers = {"Accept": "text/vcard, */*;q=0.5", "Accept-Encoding": "identity", "Cache-Control": "no-cache"}
        return await self._http.request("GET", url, headers=headers, accept=_GONE | {403}, limit=answers.MOST_TEXT)

    async def _spelled(self, book: discovery.Book, contact: str) -> str | None:
        """The address of a card as the server itself spells it, where it lists it."""
        headers = {"Depth": "1", "Content-Type": "application/xml; charset=utf-8"}
        folder = hrefs.at(book.url, _path(contact).rpartition("/")[0] + "/")
        async with self._http.spool("PROPFIND", folder, body=questions.CARDS, headers=headers, accept=_GONE) as spool:
            if spool.status in _GONE:
                return None
            async for row in answers.rows(spool, answers.Multistatus(_host(folder))):
                raw = hrefs.path(row.href, folder)
                if hrefs.key(raw) == contact:
                    return hrefs.at(folder, raw)
        return None

    def _edited(self, card: client.Answer, text: str) -> bytes:
        if b"BEGIN:VCARD" not in card.body[:4096].upper():
            raise errors.Unavailable(f"{_host(card.url)} answers with something that is no vCard")
        try:
            return notes.append(card.body, text)
        except ValueError as wrong:
            raise errors.Refused("INVALID_CARD", f"the card cannot be edited: {wrong}") from None

    async def _put(self, card: client.Answer, body: bytes, etag: str) -> bool:
        """Write the card back; False where it was changed meanwhile. Unsettled where nobody can say."""
        headers = {"Content-Type": _kind(body), "If-Match": etag}
        accept = _REFUSED | _UNSURE | _GONE | {412}
        answer = await self._http.request("PUT", card.url, body=body, headers=headers, accept=accept, redirects=False)
        status = self._inner(answer) if answer.status == 207 else answer.status
        if 200 <= status < 300:
            return True
        if status == 412 or status in _GONE:
            return False
        if status in _UNSURE:
            raise errors.Unsettled(f"{_host(card.url)} answers {status} to a change that it may have made")
        raise _refusal(card.url, status, "it does not let this card be changed")

    def _inner(self, answer: client.Answer) -> int:
        """The status that a multistatus gives of the one card in it."""
        document = answers.Multistatus(_host(answer.url))
        try:
            rows = document.feed(answer.body)
            document.close()
        except errors.Unavailable as lost:
            raise errors.Unsettled(str(lost)) from None
        return max((row.status for row in rows), default=0) or 200


def _etag(card: client.Answer) -> str:
    """The mark of the card's state, as If-Match takes it: a weak one never matches."""
    etag = card.headers.get("ETag", "").strip().removeprefix("W/")
    if not etag:
        raise _refusal(card.url, 428, "it names no ETag of the card, without which others' changes could be lost")
    return etag


def _path(contact: str) -> str:
    """The path that an id is of; what `hrefs.key` left escaped stays so."""
    pieces, at = [], 0
    for kept in _KEPT_ESCAPE.finditer(contact):
        pieces += [urllib.parse.quote(contact[at : kept.start()]), kept.group()]
        at = kept.end()
    return "".join([*pieces, urllib.parse.quote(contact[at:])])


def _kind(body: bytes) -> str:
    try:
        body.decode()
    except UnicodeDecodeError:
        return "text/vcard"
    return "text/vcard; charset=utf-8"


def _refusal(url: str, status: int, why: str) -> errors.Refused:
    return errors.Refused(str(status), f"{_host(url)} answers {status}: {why}")


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or ""
