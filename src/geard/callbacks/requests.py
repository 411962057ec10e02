"""The words of callbacks. Naming one is no request: it goes with another (docs/API.md, Callbacks)."""

from __future__ import annotations

from typing import Literal

from geard.request import Answer, Request, Route

State = Literal["running", "waiting", "dead"]


class Callback(Answer):
    """One that has not been delivered."""

    id: str
    """of the request it is about"""
    url: str
    state: State
    """running: the operation has not ended; waiting: for the next try; dead: given up"""
    what: str
    """the request: `PUT /container/web`"""
    asker: str
    accepted: str
    ended: str = ""
    tries: int = 0
    next: str = ""
    """when it is tried again; RFC 3339, as the times above"""
    problem: str = ""
    """why the last try failed"""
    body: str = ""
    """what is sent, once the operation has ended"""

    def text(self) -> str:
        rows = [
            ("Request", f"{self.id}: {self.what}, asked by {self.asker}"),
            ("URL", self.url),
            ("State", self.state + (f", tried {_times(self.tries)}" if self.tries else "")),
            ("Accepted", self.accepted),
            ("Ended", self.ended),
            ("Next try", self.next),
            ("Problem", self.problem),
            ("Body", self.body),
        ]
        return "\n".join(f"{name:<10}{value}" for name, value in rows if value)


class CallbackList(Answer):
    callbacks: tuple[Callback, ...]


class ListCallbacks(Request[CallbackList]):
    """The callbacks of a machine that have not been delivered, without their bodies."""

    route = Route("GET", "/callbacks", scope="admin", text=False, reach="machine")


class GetCallback(Request[Callback]):
    route = Route("GET", "/callback/{id}", scope="admin", reach="machine")

    id: str


class RetryCallback(Request[Callback]):
    """Try it now, and from now on as if it were new; a dead one too."""

    route = Route("POST", "/callback/{id}/retry", scope="admin", reach="machine")

    id: str


class RemovedCallback(Answer):
    id: str
    removed: bool
    """False where it was not there"""

    def text(self) -> str:
        return f"Removed callback {self.id}" if self.removed else f"Callback {self.id} was not there"


class RemoveCallback(Request[RemovedCallback]):
    """Tell nobody; unknown is fine. The operation it is about goes on."""

    route = Route("DELETE", "/callback/{id}", scope="admin", reach="machine")

    id: str


class CallbackKey(Answer):
    key: str
    """`whsec_` and base64, as libraries for webhooks take it"""

    def text(self) -> str:
        return self.key


class GetCallbackKey(Request[CallbackKey]):
    """The key that this machine's callbacks are signed with: for who receives them."""

    route = Route("GET", "/callback-key", scope="admin", reach="machine")
    secret_answer = True


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
