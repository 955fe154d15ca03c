"""What may go wrong at the stand-in Call Control Manager, by name, as often as asked and the same way every time."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

ENDINGS: Mapping[str, bool | None] = {
    "answer_lost_after_apply": True,
    "cut_before_apply": False,
    "status_500_html": None,
    "code_500": False,
    "code_500_applied": True,
    "garbage": None,
    "hang": None,
    "html_200": None,
    "key_invalid": False,
    "key_expired": False,
}
"""Faults that take the place of the answer: was the request carried out? None: a coin decides."""

DRESSES = ("curly_quotes", "padded_codes", "text_html", "bom", "slow")
"""Faults that leave the answer's meaning alone; several may strike at once."""

SECONDS = {"hang": 60.0, "slow": 0.2}


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault that this request meets."""

    name: str
    seconds: float
    applied: bool


@dataclass(slots=True)
class Fault:
    """One fault in force: strikes with `chance`, at most `times`, and only within the next `requests`."""

    name: str
    chance: float
    times: int | None
    requests: int | None
    seconds: float
    applied: bool | None

    def due(self, dice: random.Random) -> bool:
        """Whether this request is to meet it; counts the request."""
        if self.requests is not None:
            if self.requests <= 0:
                return False
            self.requests -= 1
        return (self.times is None or self.times > 0) and (self.chance >= 1 or dice.random() < self.chance)


class Faults:
    """The faults in force; draws from a seed, so that a test meets the same ones again."""

    def __init__(self, seed: int = 0) -> None:
        self._dice = random.Random(seed)
        self._faults: dict[str, Fault] = {}

    def set(
        self,
        name: str,
        *,
        chance: float = 1.0,
        times: int | None = None,
        requests: int | None = None,
        seconds: float | None = None,
        applied: bool | None = None,
    ) -> None:
        """Put a fault in force; ValueError names the known ones. `applied` decides where a coin would."""
        if name not in ENDINGS and name not in DRESSES:
            raise ValueError(f"no fault {name!r}; there are {', '.join((*ENDINGS, *DRESSES))}")
        known = ENDINGS.get(name)
        self._faults[name] = Fault(
            name=name,
            chance=chance,
            times=times,
            requests=requests,
            seconds=SECONDS.get(name, 0.0) if seconds is None else seconds,
            applied=applied if known is None else known,
        )

    def clear(self, name: str = "") -> None:
        """End one fault, or all."""
        if name:
            self._faults.pop(name, None)
        else:
            self._faults.clear()

    def read(self, text: str) -> None:
        """Set faults from `name[=AMOUNT][@SECONDS],…`: AMOUNT with a dot is a chance, without one how many times."""
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            rest, _, seconds = part.partition("@")
            name, _, amount = rest.partition("=")
            self.set(
                name,
                chance=float(amount) if "." in amount else 1.0,
                times=int(amount) if amount and "." not in amount else None,
                seconds=float(seconds) if seconds else None,
            )

    def draw(self) -> dict[str, Strike]:
        """What the next request meets: at most one ending, any dresses."""
        struck: dict[str, Strike] = {}
        for fault in self._faults.values():
            if not fault.due(self._dice) or (fault.name in ENDINGS and struck.keys() & ENDINGS.keys()):
                continue
            if fault.times is not None:
                fault.times -= 1
            applied = self._dice.random() < 0.5 if fault.applied is None else fault.applied
            struck[fault.name] = Strike(fault.name, fault.seconds, applied)
        return struck


def ending(struck: Mapping[str, Strike]) -> Strike | None:
    """The fault that takes the place of the answer, if one struck."""
    return next((strike for name, strike in struck.items() if name in ENDINGS), None)


def dress(text: str, struck: Mapping[str, Strike]) -> bytes:
    """A JSON answer as these faults spell it: typographic quotes as the page prints them, a byte order mark."""
    if "curly_quotes" in struck:
        opening = True
        spelled = []
        for character in text:
            spelled.append(("“" if opening else "”") if character == '"' else character)
            opening = opening ^ (character == '"')
        text = "".join(spelled)
    return ("\ufeff" + text if "bom" in struck else text).encode()
