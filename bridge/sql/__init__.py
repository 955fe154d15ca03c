"""The queries and the schema, as files of SQL."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from types import MappingProxyType

_NAME = re.compile(r"^-- name: (\w+).*$", re.MULTILINE)


def queries(module: str) -> Mapping[str, str]:
    """The named queries of `bridge/sql/<module>.sql`."""
    text = importlib.resources.files("bridge.sql").joinpath(f"{module}.sql").read_text("utf-8")
    parts = _NAME.split(text)
    return MappingProxyType({name: sql.strip().rstrip(";") for name, sql in zip(parts[1::2], parts[2::2], strict=True)})
