"""What may go wrong at the stand-in SugarCRM, by name, for as many requests as asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Name = Literal[
    "cut",  # the connection ends before anything is done
    "lost",  # carried out, and the connection ends before the answer
    "truncated",  # half an answer, as if it were whole
    "cut_midway",  # half an answer, and the connection ends
    "html",  # a page of whatever stands in front of Sugar, with status 200
    "null",  # the bare JSON null
    "400",
    "403_html",  # a firewall's page
    "413",
    "429",
    "500",
    "502",
    "503",  # maintenance
    "redirect",  # to another address
    "expire",  # the access token has ended before this request
    "kick",  # somebody else has logged in with the same user and platform before this request
    "endless",  # next_offset never is -1
]

LABELS = {"400": "bad_request", "413": "request_too_large", "429": "too_many", "500": "fatal_error"}
LABELS |= {"502": "bad_gateway", "503": "maintenance"}
PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in</body></html>"


@dataclass(slots=True)
class Fault:
    """One fault in force: for requests with `on` in their line, after `skip` of them, `times` times."""

    name: Name
    on: str
    skip: int
    times: int


class Faults:
    """The faults in force."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def set(self, name: Name, *, on: str = "", skip: int = 0, times: int = 1_000_000) -> None:
        """Put a fault in force; ValueError names the known ones."""
        if name not in get_args(Name):
            raise ValueError(f"no fault {name!r}; there are {', '.join(get_args(Name))}")
        self._faults.append(Fault(name, on, skip, times))

    def clear(self) -> None:
        """End all faults."""
        self._faults.clear()

    def draw(self, line: str) -> frozenset[Name]:
        """What this request meets."""
        struck: list[Name] = []
        for fault in self._faults:
            if fault.on not in line or fault.times <= 0:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.times -= 1
            struck.append(fault.name)
        return frozenset(struck)
