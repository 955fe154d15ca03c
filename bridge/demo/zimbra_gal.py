"""The directory of the stand-in Zimbra: SyncGal and SearchGal (urn:zimbraAccount)."""

from __future__ import annotations

from typing import Any

from bridge.demo.zimbra_wire import Element, SoapFault, first, number, text

_SYNC_PAGE, _SEARCH_PAGE = 30_000, 100


class Gal:
    """The entries of a domain by id, and how the server behaves about them.

    `synced` False: SyncGal is not allowed. `throttled` counts the answers that say "not now". `fresh`: a sync by token
    is told to begin anew. `most` is how many a search finds at most, `paged` whether it takes an offset, `forgetful`
    whether the deleted are never told.
    """

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self.synced = True
        self.throttled = 0
        self.fresh = False
        self.most = _SEARCH_PAGE
        self.paged = True
        self.forgetful = False
        self._log: list[tuple[str, bool]] = []

    def put(self, id: str, **attributes: Any) -> None:
        """A new entry, or a changed one."""
        self.entries[id] = attributes
        self._log.append((id, True))

    def delete(self, id: str) -> None:
        """An entry leaves."""
        del self.entries[id]
        self._log.append((id, False))

    def sync(self, body: Element) -> Element:
        """Everybody, or who changed since the token, a page at a time."""
        if not self.synced:
            raise SoapFault("service.PERM_DENIED", "permission denied: GAL sync feature is not enabled")
        token = text(body, "token")
        if self.throttled:
            self.throttled -= 1
            return {"token": token, "throttled": True}
        start, _, end = token.partition("-") if token else ("0", "", "")
        if not start.isdigit() or (end and not end.isdigit()):
            raise SoapFault("service.INVALID_REQUEST", "malformed token")
        if token and self.fresh:
            return {"token": token, "fullSyncRecommended": True}
        changes = self._log[int(start) : int(end) if end else None]
        limit = min(number(body, "limit", _SYNC_PAGE), _SYNC_PAGE)
        told, more = changes[:limit], len(changes) > limit
        live = dict.fromkeys(id for id, _ in told if id in self.entries)
        dead = dict.fromkeys(id for id, _ in told if id not in self.entries and token and not self.forgetful)
        answer: Element = {"token": str(int(start) + len(told)), "more": more}
        if live:
            answer["cn"] = [self._card(id) for id in live]
        if dead:
            answer["deleted"] = [{"id": id} for id in dead]
        return answer

    def search(self, body: Element) -> Element:
        """Entries of a type whose name holds what was asked for; "." is in every name."""
        kind, name = text(body, "type") or "all", text(first(body, "name"), "_content").strip(". ").casefold()
        found = [
            id
            for id, told in sorted(self.entries.items())
            if kind in ("all", _kind(told)) and name in f"{told.get('fullName', '')} {told.get('email', '')}".casefold()
        ]
        offset = number(body, "offset", 0) if self.paged else 0
        limit = min(number(body, "limit", self.most) or self.most, self.most)
        part = found[offset : offset + limit]
        answer: Element = {"more": offset + limit < len(found), "paginationSupported": self.paged, "offset": offset}
        return {**answer, "cn": [self._card(id) for id in part]} if part else answer

    def _card(self, id: str) -> Element:
        return {"id": id, "_attrs": self.entries[id]}


def _kind(told: dict[str, Any]) -> str:
    if told.get("type") == "group":
        return "group"
    return "resource" if told.get("zimbraCalResType") else "account"
