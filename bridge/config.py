"""bridge.toml as frozen values: every mistake at once, or none.

`load` either returns a configuration that can be run, or raises ConfigError with one line for each mistake,
`file:key: what is wrong, what is right`. It opens nothing but the file, its tenants' and its secrets'.

With thousands of tenants a file that has not changed is not checked again: its `Tenant` is the one from before, the
same object, so that whoever follows a configuration touches only what is another object now.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from bridge import errors, keys
from bridge.keys import checks
from bridge.keys import table as tables
from bridge.keys.document import Document

M = TypeVar("M", bound=keys.Table)

DEFAULT = "default"
"""The tenant of the main file."""

ETC, STATES = Path("/etc/bridge"), Path("/var/lib")
"""Where the units of deploy/ have their configuration and their state."""
OF_MAIN = ("state_dir", "log", "tenants", "database", "http", "admin")
OF_TENANTS = ("region", "internal_digits", "source", "sink", "connector", "phonebook", "provisioning", "pbxsync")
SERVED = ("phonebook", "pbxsync", "health", "metrics")
"""First parts of paths that are taken."""
_WORKFLOW = re.compile(r"(?!\.+\Z| )[^/]{1,63}(?<! )")
"""Its name is the last part of a URL and, in the CONNECTOR, what stands on a button."""
READ_ONLY = ("file", "phonebook")
"""Types of source in which nothing can be done."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant's tables. `sources` are in file order, which decides who wins a number.

    `region` is "" only where there is no source.
    """

    name: str
    region: str
    internal_digits: int
    sources: Mapping[str, keys.SourceKeys]
    sinks: Mapping[str, keys.Ccm]
    connector: keys.Connector | None
    phonebooks: Mapping[str, keys.Book]
    provisioning: keys.Provisioning | None
    pbxsync: keys.PbxSync | None


@dataclass(frozen=True, slots=True)
class Part:
    """A tenant and what it was made of: its file, what that looked at elsewhere, and what it has from the main file."""

    mark: bytes
    seen: Mapping[tuple[str, str], object] = field(repr=False)
    common: tuple[str, int]
    tenant: Tenant
    warnings: tuple[str, ...]
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Config:
    """All of bridge.toml. `secrets`: every secret in it as plain text, for the log to strike out.

    `parts` is for the next `load`, by tenant.
    """

    path: Path
    region: str
    internal_digits: int
    state_dir: Path
    log: Literal["auto", "console", "json"]
    database: keys.Database
    http: keys.Http
    admin: keys.Admin
    tenants: Mapping[str, Tenant]
    warnings: tuple[str, ...]
    secrets: tuple[str, ...] = field(repr=False)
    parts: Mapping[str, Part] = field(repr=False, compare=False)


def find(path: Path | None = None) -> Path:
    """The file to load: `path`, else $BRIDGE_CONFIG, ./bridge.toml, /etc/bridge/bridge.toml, the first there is."""
    if path is not None:
        return path
    named = os.environ.get("BRIDGE_CONFIG")
    places = [*([Path(named)] if named else []), Path("bridge.toml"), Path("/etc/bridge/bridge.toml")]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        looked = ", ".join(str(place) for place in places)
        raise errors.ConfigError([f"bridge.toml: there is none at {looked}; right is one there, or --config FILE"])
    return found


def load(path: Path, before: Config | None = None) -> Config:
    """The configuration in `path`; ConfigError with every mistake in it and in its tenants' files.

    `before`: an earlier one, whose tenants it takes over where nothing that they were made of has changed.
    """
    earlier = before.parts if before else {}
    file = Document(path)
    file.fetch()
    raw = file.parsed()
    file.check_known(raw, (*OF_MAIN, *OF_TENANTS))
    top = file.table(keys.Top, {key: raw[key] for key in keys.Top.model_fields if key in raw}, "")
    database = file.table(keys.Database, raw.get("database", {}), "database")
    http = file.table(keys.Http, raw.get("http", {}), "http")
    admin = file.table(keys.Admin, raw.get("admin", {}), "admin")
    if admin:
        checks.admin_is_closed(file, admin)
    if http and admin:
        checks.ports(file, raw, http, admin)
    if http and http.tls:
        checks.tls(file, http.tls)
    state_dir = (top and top.state_dir) or _state_dir(path)
    if service := _service_state(path, state_dir):
        file.wrong("state_dir", f'is missing, and the service keeps its state elsewhere, right is "{service}"')
    # What is wrong in it is noted; the rest still serves to check the tables.
    common = top or keys.Top.model_construct(**{key: raw[key] for key in keys.Top.model_fields if key in raw})
    parts = {DEFAULT: _main(file, raw, common, earlier.get(DEFAULT))}
    parts |= _others(file, raw, common, earlier)
    if file.problems or not (top and database and http and admin):
        raise errors.ConfigError(file.problems)
    return Config(
        path=path.absolute(),
        region=parts[DEFAULT].tenant.region,
        internal_digits=top.internal_digits,
        state_dir=state_dir,
        log=top.log,
        database=database,
        http=http,
        admin=admin,
        tenants={name: part.tenant for name, part in parts.items()},
        warnings=tuple(file.warnings),
        secrets=tuple(dict.fromkeys(file.secrets)),
        parts=parts,
    )


def _state_dir(path: Path) -> Path:
    """Where state is kept if the file does not say: systemd's first directory, else beside it."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(given).absolute() if given else path.absolute().parent / ".bridge"


def _service_state(path: Path, state_dir: Path) -> Path | None:
    """The directory of the service of a file in /etc/bridge, where a command would begin an empty one beside the file.

    systemd names it to the daemon alone: in a shell there is no $STATE_DIRECTORY.
    """
    name = "bridge" if path.stem == "bridge" else f"bridge-{path.stem}"
    service = STATES / name
    beside = path.absolute().parent
    alone = state_dir == beside / ".bridge" and beside == ETC and not state_dir.exists()
    return service if alone and service.exists() else None


def reload(before: Config) -> Config:
    """The same file anew, for a process that runs with `before`.

    ConfigError as from `load`, and where something has changed that only a start can take up: half of a new
    configuration is none.
    """
    told = load(before.path, before)
    pairs = (
        ("state_dir", before.state_dir, told.state_dir),
        ("log", before.log, told.log),
        ("database", before.database, told.database),
        ("http.listen", before.http.listen, told.http.listen),
        ("http.tls", bool(before.http.tls), bool(told.http.tls)),
        ("admin.listen", before.admin.listen, told.admin.listen),
    )
    changed = [key for key, old, new in pairs if old != new]
    if changed:
        wrong = "has changed, and only a start takes that up, right is to restart the daemon"
        raise errors.ConfigError([f"{before.path}:{key}: {wrong}" for key in changed])
    return told


def _main(file: Document, raw: Mapping[str, Any], top: keys.Top, earlier: Part | None) -> Part:
    """The main file's tenant, which is checked in any case, with the file's other tables."""
    tenant = _tenant(file, DEFAULT, raw, top)
    if earlier and (earlier.mark, earlier.seen) == (file.mark, file.seen):
        tenant = earlier.tenant
    return Part(file.mark, dict(file.seen), (top.region, top.internal_digits), tenant, (), ())


def _others(
    file: Document, raw: Mapping[str, Any], top: keys.Top, earlier: Mapping[str, Part]
) -> Iterator[tuple[str, Part]]:
    """The tenants of the other files, with the main file's region and digits where theirs say nothing."""
    if not top.tenants or not isinstance(top.tenants, str):
        return
    found = sorted(glob.glob(top.tenants, root_dir=file.path.absolute().parent, recursive=True))
    if not found:
        file.warn("tenants", f'"{top.tenants}" names no file, right is a pattern such as "tenants/*.toml"')
    first = {DEFAULT, *SERVED, *_first_parts(raw)}
    for place in found:
        path = file.path.parent / place
        other = Document(path)
        if path.stem in first:
            other.wrong(path.stem, "is taken as the name of a tenant or of a path, right is another name of the file")
        first.add(path.stem)
        other.check_name(path.stem, path.stem)
        part = _other(other, path.stem, top, earlier.get(path.stem))
        file.take(other)
        if part:
            yield path.stem, part


def _other(file: Document, name: str, common: keys.Top, earlier: Part | None) -> Part | None:
    try:
        file.fetch()
        shared = (common.region, common.internal_digits)
        if earlier and (earlier.mark, earlier.common) == (file.mark, shared) and file.still(earlier.seen):
            file.warnings += earlier.warnings
            file.secrets += earlier.secrets
            return earlier
        raw = file.parsed()
    except errors.ConfigError as failed:
        file.problems += failed.problems
        return None
    for key in OF_MAIN:
        if key in raw:
            file.wrong(key, "is no key of a tenant, right is to set it in the main file, for all of them")
    file.check_known(raw, (*OF_MAIN, *OF_TENANTS))
    own = file.table(keys.Top, {key: raw[key] for key in ("region", "internal_digits") if key in raw}, "")
    said = own.model_dump(include=own.model_fields_set) if own else {}
    tenant = _tenant(file, name, raw, common.model_copy(update=said) if said else common)
    return Part(file.mark, file.seen, shared, tenant, tuple(file.warnings), tuple(file.secrets))


def _tenant(file: Document, name: str, raw: Mapping[str, Any], top: keys.Top) -> Tenant:
    """The tables of one tenant; what is wrong is noted in `file`."""
    sources = dict(_sources(file, raw))
    region = _home(file, raw, top, sources)
    order = tuple(sources)
    connector = file.table(keys.Connector, raw["connector"], "connector") if "connector" in raw else None
    provisioning = file.table(keys.Provisioning, raw["provisioning"], "provisioning") if "provisioning" in raw else None
    pbxsync = file.table(keys.PbxSync, raw["pbxsync"], "pbxsync") if "pbxsync" in raw else None
    _check_workflows(file, raw, sources)
    _check_paths(file, connector, provisioning)
    return Tenant(
        name=name,
        region=region,
        internal_digits=top.internal_digits,
        sources={n: _filled(s, region=s.region or region) for n, s in sources.items() if s},
        sinks=dict(_sinks(file, raw, order)),
        connector=connector,
        phonebooks=dict(_books(file, raw, order)),
        provisioning=provisioning,
        pbxsync=pbxsync,
    )


def _filled(table: M, **values: object) -> M:
    """The table with these values in place of those that it has."""
    return (
        table if all(getattr(table, key) == value for key, value in values.items()) else table.model_copy(update=values)
    )


def _sources(file: Document, raw: Mapping[str, Any]) -> Iterator[tuple[str, keys.SourceKeys | None]]:
    """Every source that the file names, in file order; None where its table is wrong."""
    for name, table in file.named(raw, "source"):
        key = f"source.{tables.quoted(name)}"
        model = _model(file, table, keys.SOURCES, key)
        if model is None:
            # Of an unknown type, what all types have can still be checked.
            common = {k: v for k, v in table.items() if k in keys.SourceKeys.model_fields}
            file.table(keys.SourceKeys, common | {"type": "unknown"}, key)
            yield name, None
            continue
        made = file.table(model, table | {"type": model.model_fields["type"].default}, key)
        if made:
            checks.in_the_open(file, key, made)
        yield name, made


def _sinks(file: Document, raw: Mapping[str, Any], order: tuple[str, ...]) -> Iterator[tuple[str, keys.Ccm]]:
    for name, table in file.named(raw, "sink"):
        key = f"sink.{tables.quoted(name)}"
        model = _model(file, table, keys.SINKS, key) or keys.Ccm
        _check_sources(file, f"{key}.sources", table.get("sources"), order)
        made = file.table(model, table | {"type": "ccm"}, key)
        if made:
            checks.in_the_open(file, key, made)
            yield name, _filled(made, sources=made.sources or order)


def _books(file: Document, raw: Mapping[str, Any], order: tuple[str, ...]) -> Iterator[tuple[str, keys.Book]]:
    for name, table in file.named(raw, "phonebook"):
        key = f"phonebook.{tables.quoted(name)}"
        _check_sources(file, f"{key}.sources", table.get("sources"), order)
        made = file.table(keys.Book, table, key)
        if made:
            yield name, _filled(made, sources=made.sources or order, title=made.title or name)


def _model(file: Document, table: Mapping[str, Any], models: Mapping[str, Any], key: str) -> Any:
    """The model of a table's type, or of the nearest one so that its keys are checked as well; None: no idea."""
    kind = table.get("type")
    if isinstance(kind, str) and kind in models:
        return models[kind]
    if kind is None:
        file.wrong(f"{key}.type", f"is missing, right is {tables.listed(models)}")
        return None
    file.wrong(f"{key}.type", tables.one_of(kind, models))
    return models.get(tables.nearest(kind, models)) if isinstance(kind, str) else None


def _home(file: Document, raw: Mapping[str, Any], top: keys.Top, sources: Mapping[str, keys.SourceKeys | None]) -> str:
    """The tenant's region; where it has none and every source has its own, the first source's."""
    own = [source.region for source in sources.values() if source]
    if top.region or "region" in raw or not own:
        return top.region
    if not all(own):
        file.wrong("region", 'is missing, right is the country whose numbers have no country code, such as "LU"')
    return own[0]


def _check_sources(file: Document, key: str, named: Any, order: tuple[str, ...]) -> None:
    """Note each name in a list of sources that none has."""
    for n, name in enumerate(named if isinstance(named, list) else ()):
        if isinstance(name, str) and name not in order:
            file.wrong(f"{key}[{n}]", _no_source(name, order))


def _no_source(name: str, order: Mapping[str, Any] | tuple[str, ...]) -> str:
    if not order:
        return f'is "{name}" and there is no source at all, right is a table [source.{name}]'
    near = tables.nearest(name, order)
    hint = f'did you mean "{near}"?' if near else "right is one of " + ", ".join(f'"{known}"' for known in order)
    return f'is "{name}" and there is no such source, {hint}'


def _check_workflows(file: Document, raw: Mapping[str, Any], sources: Mapping[str, keys.SourceKeys | None]) -> None:
    """Note workflows that cannot be called, or whose source is not there or can only be read."""
    connector = raw.get("connector")
    workflows = connector.get("workflow") if isinstance(connector, dict) else None
    for name, workflow in workflows.items() if isinstance(workflows, dict) else ():
        key = f"connector.workflow.{tables.quoted(name)}"
        if not _WORKFLOW.fullmatch(name) or not name.isprintable():
            file.wrong(key, "is no name, right is at most 63 characters, no / among them and no blank at an end")
        source = workflow.get("source") if isinstance(workflow, dict) else None
        if not source or not isinstance(source, str):
            continue
        if source not in sources:
            file.wrong(f"{key}.source", _no_source(source, sources))
        elif (found := sources[source]) and found.type in READ_ONLY and workflow.get("action") != "webhook":
            file.warn(f"{key}.source", f'is "{source}", a {found.type}, which is only read; right is a CRM')


def _check_paths(file: Document, connector: keys.Connector | None, provisioning: keys.Provisioning | None) -> None:
    """Note paths that two surfaces would answer."""
    given = {"connector": connector, "provisioning": provisioning}
    for name, table in given.items():
        if table and table.path.split("/")[1:2] and table.path.split("/")[1] in SERVED:
            file.wrong(f"{name}.path", f'is "{table.path}", which is taken; right is another, such as "/services"')
    if connector and provisioning and connector.path == provisioning.path:
        file.wrong("provisioning.path", f'is "{provisioning.path}", the connector\'s own; right is "/provisioning"')


def _first_parts(raw: Mapping[str, Any]) -> Iterator[str]:
    """The first parts of the paths that the main file's tables answer."""
    for name, default in (("connector", "/services"), ("provisioning", "/provisioning")):
        table = raw.get(name)
        path = table.get("path", default) if isinstance(table, dict) else ""
        if isinstance(path, str) and path.strip("/"):
            yield path.strip("/").split("/")[0]
