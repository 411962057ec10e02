"""Putting one question to one or many places: hosts side by side, what concerns one host in order.

Each target is tried whatever became of the others. A failure is told on stderr with its target, remembered,
and becomes the exit code when the command has ended.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

import click

from geard.failures import Failure
from geard.identifiers import Locator, Place, parse_locator, parse_place
from geard.request import Answer, Follow, Progress, Request
from geard.transport import Transport

R = TypeVar("R")
SOCKET = "/run/geard/geard.sock"
TOKEN = "GEAR_TOKEN"
"""the variable with a token for this machine's agent; no other is shown it"""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass
class Session:
    """One run of `gear`: how to reach this machine in-process, the request id given, what failed so far."""

    local: Callable[[str], Transport] | None = None
    request_id: str = ""
    callback: str = ""
    """a URL that the agent tells when what is asked has ended; empty for none"""
    changes: bool = False
    """whether anything was asked that has an end to be told of"""
    behind: list[str] = field(default_factory=list[str])
    """what stands behind `--` on the command line"""
    failures: list[Failure] = field(default_factory=list[Failure])
    here: Transport | None = None
    """this machine in-process, once it has been asked: one host, one bus connection, one journal reader"""

    def in_process(self, place: Place) -> bool:
        """Whether this process does itself what is asked of `place`. It ends too soon to call anybody back."""
        return not self.callback and place.local and os.geteuid() == 0 and self.local is not None

    def transport(self, place: Place, request_id: str = "") -> Transport:
        """How to ask there. `request_id` is for an agent, in place of the one given on the command line."""
        if self.in_process(place) and self.local is not None:
            self.here = self.here or self.local(self.request_id)
            return self.here
        from geard.transport.http import HttpTransport  # noqa: PLC0415 - 20 ms that --help need not pay

        token = os.environ.get(TOKEN, "")
        if place.local and token:
            place = Place("localhost")
        if place.host not in ("", *LOOPBACK):
            _keep_renewed(place.host)
        transport = HttpTransport(SOCKET if place.local else place, request_id or self.request_id)
        if place.host in LOOPBACK:
            transport.bearer = token
        transport.callback = self.callback
        return transport


session = Session()


def _keep_renewed(host: str) -> None:
    """Where our certificate there ends within a month, have another first; root's agent does so too."""
    from geard.transport import known_hosts  # noqa: PLC0415 - as above

    with suppress(Failure):  # it holds for weeks, and this is tried again; what is damaged is told when it is used
        known = known_hosts.find(host)
        if known is not None and known_hosts.due(known):
            from geard.transport.joining import renew  # noqa: PLC0415 - once in two months

            renew(host, known)


def locators(names: Iterable[str], default_type: str = "ctr", what: str = "gear") -> list[Locator]:
    """Raises Invalid for the first that is wrong: nothing is asked of anyone then."""
    return [parse_locator(name, default_type, what) for name in names]


def places(hosts: Iterable[str]) -> list[Place]:
    return [parse_place(host) for host in hosts] or [Place()]


def ask(
    targets: Sequence[Locator],
    make: Callable[[Locator], Request[R]],
    *,
    follow: bool = False,
    announce: bool = False,
    outcomes: dict[Locator, Progress] | None = None,
) -> Iterator[tuple[Locator, R]]:
    """Ask `make(target)` of every target's place; yields the answers in the order of the targets.

    With `follow`, each waits for its report: what came of it goes to stdout, steps on the way to a terminal.
    With `announce` too, the answer itself is printed as soon as it is there. With `outcomes`, what came of each
    target is put in there, and nothing on stdout.
    """
    many = len(targets) > 1

    def shower(target: Locator) -> Follow | None:
        if not follow:
            return None
        show = _shower(f"{target}: " if many else "", announce=announce)
        return show if outcomes is None else _keeper(target, outcomes, show)

    steps = [(target.at, make(target), shower(target)) for target in targets]
    for target, answer in zip(targets, _gather(steps), strict=True):
        try:
            yield target, answer.result()
        except Failure as failure:
            tell(failure, str(target) if many else "")


def ask_places(
    where: Sequence[Place], make: Callable[[Place], Request[R]], *, follow: bool = False
) -> Iterator[tuple[Place, R]]:
    """As `ask`, for questions about whole machines."""
    many = len(where) > 1
    steps = [
        (place, make(place), _shower(f"{place}: " if many and str(place) else "") if follow else None)
        for place in where
    ]
    for place, answer in zip(where, _gather(steps), strict=True):
        try:
            yield place, answer.result()
        except Failure as failure:
            tell(failure, (str(place) or "this machine") if many else "")


class _Outcome(Generic[R]):
    """What became of one question: there once `done` is set."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self._answer: R | None = None
        self._error: BaseException | None = None

    def ask(self, transport: Transport, request: Request[R], follow: Follow | None) -> None:
        route = type(request).route
        session.changes |= route is not None and route.mutates
        try:
            self._answer = transport.send(request, follow=follow)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
            self._error = error
        self.done.set()

    def result(self) -> R:
        self.done.wait()
        if self._error is not None:
            raise self._error
        return cast(R, self._answer)


def _gather(steps: Sequence[tuple[Place, Request[R], Follow | None]]) -> list[_Outcome[R]]:
    by_place: dict[Place, list[int]] = {}
    for number, (place, _, _) in enumerate(steps):
        by_place.setdefault(place, []).append(number)
    outcomes: list[_Outcome[R]] = [_Outcome() for _ in steps]

    def at_one_place(place: Place, numbers: list[int]) -> None:
        transport = session.transport(place)
        for number in numbers:
            _, request, follow = steps[number]
            outcomes[number].ask(transport, request, follow)

    if len(by_place) == 1:
        # Nothing to do side by side: no thread, so that Ctrl-C ends the wait at once.
        at_one_place(*next(iter(by_place.items())))
        return outcomes
    for place, numbers in by_place.items():
        threading.Thread(target=at_one_place, args=(place, numbers), daemon=True).start()
    return outcomes


def _shower(prefix: str, *, announce: bool = False) -> Follow:
    def show(step: Answer) -> None:
        on_the_way = isinstance(step, Progress) and not step.result
        if on_the_way and not sys.stderr.isatty():
            return
        if isinstance(step, Progress) or announce:
            for line in step.text().splitlines():
                click.echo(prefix + line, err=on_the_way)

    return show


def _keeper(target: Locator, outcomes: dict[Locator, Progress], show: Follow) -> Follow:
    def keep(step: Answer) -> None:
        if not isinstance(step, Progress):
            return
        if step.result:
            outcomes[target] = step
        else:
            show(step)

    return keep


def tell(failure: Failure, about: str = "") -> None:
    """Say what failed, and what would help, on stderr; remember it for the exit code."""
    session.failures.append(failure)
    click.echo(f"Error: {about + ': ' if about else ''}{failure.message}", err=True)
    if failure.hint:
        click.echo(f"  {failure.hint}", err=True)
    sys.stderr.flush()
