"""What may go wrong at the stand-in Zimbra, by name; each strikes requests of one name, or any, so many times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Name = Literal[
    "cut",  # the connection ends within the answer, and nothing was done
    "lost",  # it was done, and the connection ends before the answer
    "fault_500",  # service.FAILURE
    "error_500",  # a proxy's HTML with 500
    "busy_503",  # 503 with Retry-After
    "html_200",  # a login page with 200
    "truncated",  # half of the answer, as if it were whole
    "null",  # `null`
    "empty",  # an envelope without an answer
    "silent",  # no answer for as long as anybody waits
    "expire",  # every session ends, and then the request is answered
]


@dataclass(slots=True)
class Fault:
    """One fault in force: after `after` requests that it would strike, it strikes `times` times."""

    name: Name
    request: str = ""
    times: int = 1
    after: int = 0


class Faults:
    """The faults in force."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def set(self, name: Name, request: str = "", *, times: int = 1, after: int = 0) -> None:
        """Put a fault in force against requests of this name ("": any)."""
        if name not in get_args(Name):
            raise ValueError(f"no fault {name!r}; there are {', '.join(get_args(Name))}")
        self._faults.append(Fault(name, request, times, after))

    def clear(self) -> None:
        """End them all."""
        self._faults.clear()

    def draw(self, request: str) -> Name | None:
        """What this request meets."""
        for fault in self._faults:
            if fault.request not in ("", request) or not fault.times:
                continue
            if fault.after:
                fault.after -= 1
                continue
            fault.times -= 1
            return fault.name
        return None
