"""What the checking of a file looked at outside of it: secrets kept elsewhere, certificates.

It is noted in the context that pydantic hands to validators, so that a file which itself has not changed need not be
checked again while all of this has not changed either.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationInfo

Seen = dict[tuple[str, str], object]
"""What was found, by the way it was looked for and its name."""


def context(directory: Path, seen: Seen) -> dict[str, Any]:
    """For validators: the directory that relative paths start from, and where they note what they look at."""
    return {"base": directory, "seen": seen}


def base(info: ValidationInfo) -> Path:
    """The directory that relative paths start from."""
    directory: Path = info.context["base"] if info.context else Path.cwd()
    return directory


def note(info: ValidationInfo, way: str, name: str, found: object) -> None:
    """Keep in mind what was found."""
    if info.context:
        info.context["seen"][way, name] = found


def stamp(path: str) -> tuple[int, int, int] | None:
    """What is another one as soon as the file is; None: there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def unchanged(seen: Mapping[tuple[str, str], object], look: Mapping[str, Any], directory: Path) -> bool:
    """Whether each thing is as it was; `look`: how to look for it again, by way."""
    for (way, name), was in seen.items():
        try:
            if look[way](name, directory) != was:
                return False
        except ValueError:
            return False
    return True
