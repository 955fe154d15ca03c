"""Every error that crosses a module, named for what the caller does next.

    BridgeError
    ├── ConfigError      the configuration is wrong: every problem at once, nothing was started
    ├── Denied           credentials refused: stop, one probe a minute rising to 15
    ├── Unavailable      not now: again later, others go on (`after` seconds, where the other side said so)
    │   ├── Unsettled    sent, and the answer was lost: ask before sending again
    │   └── Fenced       somebody else may be doing it: stop at once, nothing was sent or written
    ├── Refused          this one record, until it changes (`code` as the other side spells it)
    ├── Held             waits for the admin's approval
    └── Unsupported      asked for something that this type cannot do

A message is shown to admins: it says what is wrong and what is right, and never holds a body or a secret.
"""

from __future__ import annotations

from collections.abc import Sequence


class BridgeError(Exception):
    """Anything bridge raises on purpose; `str()` of it is fit to show."""


class ConfigError(BridgeError):
    """Wrong configuration: `problems` are lines `file:key: what is wrong, what is right`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Denied(BridgeError):
    """The other side does not take our credentials."""

    def __init__(self, reason: str, code: str = "") -> None:
        super().__init__(reason)
        self.code = code


class Unavailable(BridgeError):
    """It cannot be had now; `after` is seconds to wait if the other side named them.

    `code` is set where the other side did answer, in its own words, that it failed.
    """

    def __init__(self, reason: str, *, after: float | None = None, code: str = "") -> None:
        super().__init__(reason)
        self.after = after
        self.code = code


class Unsettled(Unavailable):
    """The request may or may not have been carried out."""


class Fenced(Unavailable):
    """Another process works for this tenant, or may by now."""


class Refused(BridgeError):
    """This record is not taken until it changes; `absent`, `present`: because it is not there, or is there already.

    `perhaps_absent`: the sink's own word, by which what may never have arrived is not there.
    """

    def __init__(
        self, code: str, reason: str, *, absent: bool = False, present: bool = False, perhaps_absent: bool = False
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.absent = absent
        self.present = present
        self.perhaps_absent = perhaps_absent


class Held(BridgeError):
    """Losses wait for `bridge approve`."""


class Unsupported(BridgeError):
    """This type cannot do that."""
