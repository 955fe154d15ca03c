"""The admin's page over HTTP: who may see it, what may be done from it, and how it is sent."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from bridge import errors, log
from bridge.config import Config, Tenant
from bridge.recent import Recent
from bridge.server import Handler, bodies, replies
from bridge.server.access import masked
from bridge.server.forms import Forms, Notes
from bridge.server.logins import Logins
from bridge.server.replies import Refusal
from bridge.store import Store
from bridge.web import holds, pages, views, words
from bridge.web.pages import ASSETS, Asset, Frame, Note
from bridge.web.views import Asked, Missing, View

_DEADLINE = 3.0
"""Seconds that the database has for a page."""
_PATIENCE = 5.0
"""Seconds that an admin waits for what was approved; it goes on without anybody waiting."""
_AT_ONCE = 2
"""Pages that are read and written at once: beside them, telephones ring."""
_READ = ("GET", "HEAD")
_LONGEST = 2_000
_FIELDS = 20
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "bridge",
}
_HTML = {**_HEADERS, "Content-Type": "text/html; charset=utf-8"}
_LOG = log.get()

Shown = Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]
"""Answers a request of a user, "" where there are none."""
Deed = Callable[[Tenant, Mapping[str, str], str], Awaitable[tuple[str, Note]]]
"""Does what a form of a user asks for; the page to go to, and what that is to say."""


@dataclass(frozen=True, slots=True)
class Actions:
    """What is done by those above the server.

    `approve` lets through what is held of a source and was shown: `{"removed", "changed", "held"}`. `retry` owes once
    more what is refused, and says how much that is. `works`: whether a process reads sources and pushes to sinks.
    """

    approve: Callable[[Tenant, str], Awaitable[Mapping[str, int]]]
    retry: Callable[[Tenant], Awaitable[int]]
    works: Callable[[], Awaitable[bool]]


class Web:
    """The pages of [admin]; `told` may be replaced by a later configuration at any time.

    It answers whatever no other surface does, so it stands last.
    """

    def __init__(
        self,
        db: Store,
        told: Config,
        actions: Actions,
        recent: Recent | None = None,
        logins: Logins | None = None,
        patience: float = _PATIENCE,
    ) -> None:
        self.told = told
        self._db = db
        self._actions = actions
        self._recent = recent or Recent()
        self._logins = logins or Logins()
        self._patience = patience
        self._forms = Forms()
        self._notes = Notes()
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._late: set[asyncio.Task[Mapping[str, int]]] = set()
        self._missing = self._guarded(self._nothing)
        self._paths = {
            **{path: self._guarded(self._page, *_READ) for path in views.PAGES},
            **{asset.path: _sender(asset) for asset in ASSETS.values()},
            "/approve": self._guarded(self._doer(self._approve), "POST"),
            "/retry": self._guarded(self._doer(self._retry), "POST"),
        }

    def paths(self) -> Mapping[str, Handler]:
        """The pages, their files, and what can be done."""
        return self._paths

    def find(self, path: str) -> Handler | None:
        """Any other path: there is nothing, said to people as a page."""
        return self._paths.get(path, self._missing)

    def _guarded(self, handler: Shown, *methods: str) -> Handler:
        """The handler for those who may; whatever is refused is answered as a page."""

        async def guarded(request: web.BaseRequest) -> web.StreamResponse:
            try:
                user = self._logins.admit(self.told.admin.users, request)
                if methods and request.method not in methods:
                    reply = await self._told(405, f"This is asked with {methods[0]}.")
                    reply.headers["Allow"] = ", ".join(methods)
                    return reply
                return await handler(request, user)
            except Missing as missing:
                return await self._told(404, str(missing))
            except Refusal as refusal:
                reply = await self._told(refusal.status, str(refusal))
                asked = refusal.reply().headers
                reply.headers.update({key: asked[key] for key in ("WWW-Authenticate", "Retry-After") if key in asked})
                return reply
            except (errors.Unavailable, TimeoutError) as fault:
                reason = str(fault) or f"the database does not answer within {_DEADLINE:.0f} s"
                _LOG.debug("web.unavailable", path=request.path, reason=reason)
                return await self._told(503, f"{reason[:1].upper()}{reason[1:]}.", again=True)

        return guarded

    async def _page(self, request: web.BaseRequest, user: str) -> web.StreamResponse:
        query = {key: _clean(value) for key, value in request.query.items()}
        tenant = self._tenant(query)
        asked = Asked(
            db=self._db,
            tenants=self.told.tenants,
            tenant=tenant,
            query=query,
            now=datetime.datetime.now(datetime.UTC),
            recent=self._recent,
            works=self._actions.works,
        )
        async with self._gate:
            async with asyncio.timeout(_DEADLINE):
                view = await views.PAGES[request.path](asked)
            return _reply(200, await pages.render(view, self._frame(request, query, asked.chosen, user)))

    def _tenant(self, query: Mapping[str, str]) -> Tenant | None:
        name = query.get("tenant", "")
        if not name:
            return None
        if name not in self.told.tenants:
            raise Missing(f'There is no tenant "{words.text(name, 60)}".')
        return self.told.tenants[name]

    def _frame(self, request: web.BaseRequest, query: Mapping[str, str], tenant: Tenant, user: str) -> Frame:
        """What stands around a page; of several tenants the one that it is about, which is all at the root."""
        several, many = len(self.told.tenants) > 1, len(self.told.tenants) > views.MOST_TENANTS
        about_all = request.path == "/" and not query.get("tenant")
        return Frame(
            path=request.path,
            now=datetime.datetime.now(datetime.UTC),
            masked=masked,
            name=query.get("name", ""),
            tenant=tenant.name if several and not about_all else "",
            tenants=tuple(self.told.tenants) if several and not many else (),
            many=many,
            find=query.get("find", ""),
            numbers=query.get("numbers") == "1",
            token=self._forms.token(request),
            user=user,
            note=self._notes.get(query.get("note", "")),
        )

    async def _nothing(self, request: web.BaseRequest, _user: str) -> web.StreamResponse:
        if "text/html" not in request.headers.get("Accept", ""):
            return replies.error(404, "there is nothing at this path")
        raise Missing("There is nothing at this path.")

    async def _told(self, code: int, what: str, *, again: bool = False) -> web.Response:
        """A page with one sentence; it shows nothing that a password would be needed for."""
        frame = Frame(path="", now=datetime.datetime.now(datetime.UTC), masked=masked)
        tone = "bad" if code >= 500 else "warn"
        view = View("told.html", HTTPStatus(code).phrase, {"told": what, "tone": tone, "again": again})
        return _reply(code, await pages.render(view, frame))

    def _doer(self, deed: Deed) -> Shown:
        """A handler that does something for a form of ours, and then sends the browser to a page that says so."""

        async def do(request: web.BaseRequest, user: str) -> web.StreamResponse:
            raw = await bodies.read(request)
            try:
                told = parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_FIELDS)
            except ValueError:
                raise Refusal(400, "This is no form of ours.") from None
            form = {key: _clean(value) for key, value in told}
            self._forms.check(request, form.get("token", ""))
            tenant = self._tenant(form)
            if tenant is None and len(self.told.tenants) > 1:
                raise Refusal(400, "The form does not say which tenant it is about.")
            page, note = await deed(tenant or next(iter(self.told.tenants.values())), form, user)
            query = {key: form[key] for key in ("tenant", "numbers") if form.get(key)}
            target = f"{page}?{urlencode({**query, 'note': self._notes.keep(note)})}"
            return web.Response(status=303, headers={**_HEADERS, "Location": target})

        return do

    async def _approve(self, tenant: Tenant, form: Mapping[str, str], user: str) -> tuple[str, Note]:
        source = form.get("source", "")
        if source not in tenant.sources:
            raise Missing(f'There is no source "{words.text(source, 60)}".')
        if not await holds.seen(self._db, tenant.name, source, form.get("mark", "")):
            return "/held", Note("warn", f"What is held of {source} has changed since you saw it: nothing was done.")
        _LOG.info("web.approve", tenant=tenant.name, source=source, user=user)
        task = asyncio.ensure_future(self._actions.approve(tenant, source))
        self._late.add(task)
        task.add_done_callback(lambda done: self._approved(tenant.name, source, done))
        done, _ = await asyncio.wait({task}, timeout=self._patience)
        if not done:
            return "/held", Note("warn", f"A run of {source} is under way: it goes through as soon as that has ended.")
        went = task.result()
        said = f"{source}: {went['removed']} removed, {went['changed']} changed."
        if went["held"]:
            return "/held", Note("warn", f"{said} {went['held']} came after the list was shown, and wait.")
        return "/held", Note("good", said)

    def _approved(self, tenant: str, source: str, task: asyncio.Task[Mapping[str, int]]) -> None:
        """It is done, or it is not; whoever asked may no longer wait for it."""
        self._late.discard(task)
        if task.cancelled():
            return
        fault = task.exception()
        if fault:
            _LOG.error("web.approve_failed", tenant=tenant, source=source, reason=str(fault))
        else:
            _LOG.info("web.approved", tenant=tenant, source=source, **task.result())

    async def _retry(self, tenant: Tenant, _form: Mapping[str, str], user: str) -> tuple[str, Note]:
        async with asyncio.timeout(_DEADLINE):
            owed = await self._actions.retry(tenant)
        _LOG.info("web.retry", tenant=tenant.name, owed=owed, user=user)
        if not owed:
            return "/refused", Note("good", "There was nothing to try again.")
        return "/refused", Note("good", f"{words.plural(owed, 'entry', 'entries')} will be tried again now.")


def _clean(said: str) -> str:
    """A value that the database takes: of bounded length, without what no text there may hold."""
    return said[:_LONGEST].replace("\0", "").encode("utf-8", "replace").decode()


def _sender(asset: Asset) -> Handler:
    """A file, for whoever asks; browsers keep it: another one has another path."""
    headers = {**_HEADERS, "Content-Type": asset.type, "Cache-Control": "private, max-age=31536000, immutable"}

    async def send(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=asset.body, headers=headers)

    return send


def _reply(code: int, body: bytes) -> web.Response:
    return web.Response(status=code, body=body, headers=_HTML)
