"""What a workflow asks a CRM to do after a call, and what came of it. Values only, no I/O."""

from __future__ import annotations

import datetime
from typing import Literal

import msgspec

Kind = Literal["log-call", "ticket", "task", "note"]


class Call(msgspec.Struct, frozen=True):
    """One telephone call, seen from our side. Times are aware and in UTC, None where they are not known.

    `number` and `name` are the other party's, as told; `own_number` and `own_name` ours.
    """

    direction: Literal["inbound", "outbound"] = "inbound"
    number: str = ""
    name: str = ""
    own_number: str = ""
    own_name: str = ""
    started: datetime.datetime | None = None
    answered: datetime.datetime | None = None
    ended: datetime.datetime | None = None

    @property
    def seconds(self) -> int:
        """How long was spoken; 0 where nobody answered, or it is not known."""
        if self.answered is None or self.ended is None:
            return 0
        return max(0, round((self.ended - self.answered).total_seconds()))


class Action(msgspec.Struct, frozen=True):
    """One thing to make in a CRM, once.

    `key` is 32 lower-case hexadecimal digits, the same for every try: what was made carries it, and is found by it.
    `subject` is one line, `text` may be many. `contact` is the id in the CRM ("": of nobody), `contact_url` its page
    there; `user` the CRM's id of whoever took the call ("": not known).
    """

    kind: Kind
    key: str
    subject: str
    text: str = ""
    call: Call = Call()
    contact: str = ""
    contact_url: str = ""
    user: str = ""


class Made(msgspec.Struct, frozen=True):
    """What an action made, or had made before: its id as the CRM gave it, and its page there ("": it has none)."""

    id: str
    url: str = ""
