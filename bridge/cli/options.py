"""The options that commands share, and the names that they take checked against the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from bridge import config
from bridge.config import Config, Tenant
from bridge.keys.table import nearest

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The configuration; else $BRIDGE_CONFIG, ./bridge.toml or /etc/bridge/bridge.toml.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
TenantName = Annotated[str, typer.Option("--tenant", metavar="NAME", help="The tenant that is meant.")]
AnyTenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="This tenant alone; else all.")]
SourceName = Annotated[str, typer.Argument(metavar="SOURCE")]
NumberText = Annotated[str, typer.Argument(metavar="NUMBER", help="As a caller's telephone would show it.")]

MAIN = config.DEFAULT


def tenant(told: Config, name: str) -> Tenant:
    """The tenant of that name."""
    return told.tenants[one_of(name, told.tenants, "tenant")]


def tenants(told: Config, name: str) -> Sequence[Tenant]:
    """The tenant of that name, or all for ""."""
    return [tenant(told, name)] if name else list(told.tenants.values())


def one_of(name: str, known: Iterable[str], what: str) -> str:
    """The name, if there is such a `what`; else the command line is wrong, and is told which one is nearest."""
    names = list(known)
    if name in names:
        return name
    near = nearest(name, names)
    hint = f'did you mean "{near}"?' if near else f"there is {', '.join(names)}" if names else "there is none at all"
    raise typer.BadParameter(f'there is no {what} "{name}", {hint}')
