"""What is different between a gear that is there and the gear it is to be, in words. Pure.

Both are given as an install's body has them. Values of variables may be secret and are never shown.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from geard.containers.requests import InstallContainer
from geard.containers.sizes import show_size
from geard.deployments.requests import DeployedGear
from geard.environments.requests import Environment, EnvironmentPart
from geard.links.requests import NetworkLink
from geard.ports.requests import PortPair, PublishedPorts
from geard.words import builtins_of, part_of

# Said of every install, or compared by themselves.
_ASIDE = {
    "Id",
    "Started",
    "Isolate",
    "SocketActivation",
    "SkipSocketProxy",
    "Ports",
    "Environment",
    "NetworkLinks",
}


def differences(before: DeployedGear, wanted: InstallContainer) -> tuple[str, ...]:
    """One line for each part of the definition that is to be another; empty where nothing is."""
    lines = _changed(described(before.asked), described(builtins_of(wanted)))
    ports = part_of(PublishedPorts, wanted.parts)
    lines += _ports(before.ports, ports.value if ports is not None else ())
    environment = part_of(EnvironmentPart, wanted.parts)
    variables = (environment.value if environment is not None else Environment()).variables
    lines += _variables(
        {each.name: each.value for each in before.variables}, {each.name: each.value for each in variables}
    )
    if not before.runs:
        lines.append(f"it is {f'down ({before.active})' if before.started else 'stopped'} -> it runs")
    return tuple(lines)


def described(asked: Mapping[str, Any]) -> dict[str, str]:
    """Each value of an install by its place: `Limits.Memory` -> `256M`. What is not said is not there."""
    return dict(_flat({key: value for key, value in asked.items() if key not in _ASIDE}, ""))


def _flat(value: object, place: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[str, object]", value).items():
            yield from _flat(item, f"{place}.{key}" if place else key)
    elif isinstance(value, (list, tuple)):
        items = cast("Sequence[object]", value)
        if all(isinstance(item, str) for item in items):
            if items:
                yield place, shlex.join(map(str, items))
        else:
            for number, item in enumerate(items):
                yield from _flat(item, f"{place}[{number}]")
    elif (
        isinstance(value, int) and not isinstance(value, bool) and place in ("Limits.Memory", "Limits.MemorySwap")
    ):
        yield place, show_size(value)
    elif value is not None and value is not False and value != "":
        yield place, f"{value:g}" if isinstance(value, float) else str(value)


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    names = [*after, *(name for name in before if name not in after)]
    return [
        f"{name}: {before.get(name, 'not said')} -> {after.get(name, 'not said')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _ports(before: Sequence[PortPair], after: Sequence[PortPair]) -> list[str]:
    there = {(pair.internal, pair.protocol): pair for pair in before}
    wanted = {(pair.internal, pair.protocol): pair for pair in after}
    lines = [
        f"Ports.{number}/{protocol}: {there[number, protocol].place} -> not published"
        for number, protocol in there
        if (number, protocol) not in wanted
    ]
    for (number, protocol), pair in wanted.items():
        now = there.get((number, protocol))
        if now is None:
            lines.append(f"Ports.{number}/{protocol}: not published -> {pair.external or 'a free port'}")
        elif (pair.external and pair.external != now.external) or (
            pair.address and pair.address != (now.address or "*")
        ):
            lines.append(f"Ports.{number}/{protocol}: {now.place} -> {pair.place}")
    return lines


def _variables(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    lines: list[str] = []
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            how = "is new" if name not in before else "goes" if name not in after else "has another value"
            lines.append(f"Environment.{name}: {how}")
    return lines


def link_differences(before: Iterable[NetworkLink], after: Iterable[NetworkLink]) -> tuple[str, ...]:
    there, wanted = {link.place: link for link in before}, {link.place: link for link in after}
    lines: list[str] = []
    for place in sorted({*there, *wanted}):
        now, then = there.get(place), wanted.get(place)
        if (
            now is None
            or then is None
            or (now.target, now.alias) != (then.target, then.alias)
            or not then.complete
        ):
            lines.append(
                f"link {place}: {now.target if now else 'none'} -> {_leads(then) if then is not None else 'none'}"
            )
    return tuple(lines)


def _leads(link: NetworkLink) -> str:
    return link.target if link.complete else f"{link.to_host}, on a port it is given"
