"""The ways geard can fail, one class a kind.

Raised where the reason is known; turned into an HTTP status in one place (`daemon/refusing.py`), into an exit
code in another (`cli/exits.py`). The kinds are those of docs/API.md, "Words for failure".

    Failure
     ├ Invalid ─ TooLarge, NotAcceptable      ├ TooMany, Full
     ├ Unauthenticated, Denied                ├ Unavailable
     ├ NotFound                               ├ TimedOut
     ├ AlreadyExists, Conflict                └ Bug
     └ PreconditionFailed
"""

from __future__ import annotations


class Failure(Exception):
    """What could not be done, about what; `hint` is what would help."""

    def __init__(self, message: str, *, hint: str = "", data: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.data = data

    @property
    def kind(self) -> str:
        return type(self).__name__


class Invalid(Failure):
    """The question itself is wrong: asking again the same way cannot succeed."""


class TooLarge(Invalid):
    pass


class NotAcceptable(Invalid):
    """There is no such form of the answer."""


class Unauthenticated(Failure):
    pass


class Denied(Failure):
    pass


class NotFound(Failure):
    pass


class AlreadyExists(Failure):
    """Somebody else holds what was asked for (a port, a name)."""


class Conflict(Failure):
    """Two askers at cross purposes: a request id used for two things, two writers."""


class PreconditionFailed(Failure):
    pass


class TooMany(Failure):
    """This asker asks too often."""


class Full(Failure):
    """The queue is full; the request id was not used up."""


class Unavailable(Failure):
    """systemd, the engine or an agent does not answer."""


class TimedOut(Failure):
    """The wait ran out; the operation itself goes on."""


class Bug(Failure):
    """A defect of geard's own; the journal knows the id in the message."""


def no_such_gear(id: str) -> NotFound:
    return NotFound(f"there is no gear {id} here", hint="gear list -a shows what is installed")


def _kinds(cls: type[Failure]) -> dict[str, type[Failure]]:
    found = {cls.__name__: cls}
    for sub in cls.__subclasses__():
        found |= _kinds(sub)
    return found


KINDS = _kinds(Failure)


def failure_of_kind(kind: str, message: str, *, hint: str = "", data: object = None) -> Failure:
    """The failure an agent described in words; an unknown kind (a newer agent's) stays a plain Failure."""
    return KINDS.get(kind, Failure)(message, hint=hint, data=data)
