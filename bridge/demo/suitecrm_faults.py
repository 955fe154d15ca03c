"""What may go wrong at the stand-in SuiteCRM, by name, when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

Fault = Literal[
    "cut",  # half of the answer, then the end of the connection
    "dropped",  # the connection ends, and nothing was carried out
    "expired",  # every session has ended
    "html",  # a login page, with 200
    "lost",  # carried out, and the connection ends before the answer
    "notice",  # PHP's words before the answer
    "null",  # a bare null
    "slow",  # the answer comes after `delay` seconds
    "status_500",  # the database is away, as SuiteCRM says it
    "status_503",
    "truncated",  # the answer lacks its end, and its length says nothing of it
]
FAULTS: tuple[Fault, ...] = get_args(Fault)

LOGIN_PAGE = "<!DOCTYPE html>\n<html><head><title>SuiteCRM</title></head><body><form>…</form></body></html>"
NOTICE = "\nNotice: Undefined index: team_id in /var/www/html/data/SugarBean.php on line 2307\n"
DATABASE = "Database failure. Please refer to suitecrm.log for details."


@dataclass(slots=True)
class _Due:
    name: Fault
    method: str
    skip: int
    times: int


class Faults:
    """The faults in force, each for the calls of one method or of any."""

    def __init__(self) -> None:
        self._due: list[_Due] = []

    def set(self, name: Fault, method: str = "", *, times: int = 1, skip: int = 0) -> None:
        """Meet the next `times` calls with a fault, after letting `skip` pass; ValueError names the known ones."""
        if name not in FAULTS:
            raise ValueError(f"no fault {name!r}; there are {', '.join(FAULTS)}")
        self._due.append(_Due(name, method, skip, times))

    def clear(self) -> None:
        """End them all."""
        self._due.clear()

    def draw(self, method: str) -> Fault | None:
        """The fault that this call meets."""
        for due in self._due:
            if due.times <= 0 or due.method not in ("", method):
                continue
            if due.skip:
                due.skip -= 1
                continue
            due.times -= 1
            return due.name
        return None


Hook = Callable[[str], None]
"""Called with a method's name before it is carried out: what happens in the CRM meanwhile."""
