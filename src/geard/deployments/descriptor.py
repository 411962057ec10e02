"""What a deployment's file says: containers, how many of each, how they are linked. An instances file
says too which gears came of it and where. The keys are the original's and those of an install (docs/DEPLOY.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from geard.containers.requests import Restart
from geard.environments.requests import Variable
from geard.failures import Invalid
from geard.identifiers import check_id
from geard.ports.requests import Protocol
from geard.secrets.requests import SecretUse
from geard.words import Word, read

MOST = 1_000
"""instances of one container"""


class PublicPort(Word, omit_defaults=True):
    """A port of the container. As `PublicPorts`, `external` is the host's port, 0 for a free one; as `AliasPorts`,
    the port by which the source of a link sees it.
    """

    internal: int
    external: int = 0
    protocol: Protocol = "tcp"
    address: str = ""
    """of the host, as in an install; only for PublicPorts"""


class Link(Word, omit_defaults=True):
    """Every instance of the container can reach every instance of `to`, each at an address of its own."""

    to: str
    non_local: bool = False
    """at 192.168.1.x, not 127.0.0.x"""
    match_port: bool = False
    """the port number stays, the address varies"""
    ports: tuple[int, ...] = ()
    """of the target's public ports; all where neither these nor aliases are given"""
    alias_ports: tuple[PublicPort, ...] = ()


class ContainerLimits(Word, omit_defaults=True):
    memory: int | str | None = None
    """bytes, or as 256m"""
    memory_swap: int | str | None = None
    """memory and swap together"""
    cpus: float | None = None
    pids: int | None = None


class Container(Word, omit_defaults=True):
    name: str
    image: str
    count: int | None = None
    """how many instances; nothing said: none"""
    public_ports: tuple[PublicPort, ...] = ()
    links: tuple[Link, ...] = ()
    environment: tuple[Variable, ...] = ()
    env_files: tuple[str, ...] = ()
    """paths of NAME=VALUE lines, from the descriptor's folder; what stands in Environment wins"""
    affinity: str = ""
    """spread (the usual), pack, host=NAME, not-with=CONTAINER; several with commas"""
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    """PATH, HOST_PATH:PATH or HOST_PATH:PATH:ro, as -v of gear install"""
    limits: ContainerLimits = ContainerLimits()
    slice: str = ""
    restart: Restart | None = None
    stop_timeout: int | None = None
    labels: dict[str, str] = {}
    secrets: tuple[SecretUse, ...] = ()
    engine: str = ""
    simple: bool = False
    host_user: str = ""
    """USER or USER:ID, as --host-user of gear install"""
    health_command: tuple[str, ...] = ()
    """kept for health checks, which are not there yet"""


class Target(Word, omit_defaults=True):
    """Where those linked to an instance see its port."""

    host: str = ""
    port: int = 0


class InstancePort(Word, omit_defaults=True):
    internal: int
    external: int = 0
    protocol: Protocol = "tcp"
    target: Target | None = None


class Instance(Word, omit_defaults=True):
    id: str
    image: str = ""
    container: str = msgspec.field(default="", name="From")
    on: str | None = None
    """the host, as it was given; `local` is the machine gear ran on"""
    ports: tuple[InstancePort, ...] = ()
    environment: tuple[Variable, ...] = ()
    """the original's files have it; what counts is the container's"""


class Leaving(Word):
    """A gear that is to be removed and was not yet."""

    id: str
    on: str


class Descriptor(Word, omit_defaults=True):
    containers: tuple[Container, ...] = ()
    instances: tuple[Instance, ...] = ()
    id_prefix: str = ""
    randomize_ids: bool = False
    name: str = ""
    """of the deployment; else the file's"""
    leaving: tuple[Leaving, ...] = ()
    unfinished: str = ""
    """the id of a run that did not come to its end"""


def parse_descriptor(text: str, where: str) -> Descriptor:
    """JSON or YAML; keys in any case. `where` names the file in messages. Raises Invalid with the place."""
    try:
        return check_descriptor(read(Descriptor, _without_nulls(_parsed(text, where))))
    except Invalid as failure:
        raise Invalid(f"{where}: {failure.message.removeprefix(f'{where}: ')}", hint=failure.hint) from None


def _parsed(text: str, where: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        wrong = str(error)
    if text.lstrip()[:1] in ("{", "["):
        raise Invalid(f"it is not JSON: {wrong}")
    import yaml  # noqa: PLC0415 - only who has YAML pays for it

    try:
        # JSON's types and no others: a tag such as !!python/object, or a date, is none of them.
        return json.loads(json.dumps(yaml.safe_load(text), default=_no_json))
    except (yaml.YAMLError, RecursionError) as error:
        raise Invalid(f"it is neither JSON nor YAML: {' '.join(str(error).split())}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} is given twice")
    return found


def _no_json(value: object) -> object:
    raise Invalid(f"{value!s} is a {type(value).__name__}", hint="put it in quotes")


def _without_nulls(value: object) -> object:
    """The original's program wrote null where a list was empty."""
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value).items()
        return {key: _without_nulls(item) for key, item in items if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in cast("list[object]", value)]
    return value


def check_descriptor(descriptor: Descriptor) -> Descriptor:
    """What its containers say of each other, and of their names. Raises Invalid."""
    names = [container.name for container in descriptor.containers]
    for name in names:
        if names.count(name) > 1:
            raise Invalid(f"two containers are named {name}")
    for container in descriptor.containers:
        check_id(f"{descriptor.id_prefix}{container.name}-{MOST}", "gear")
        if not 0 <= (container.count or 0) <= MOST:
            raise Invalid(f"{container.count} instances of {container.name}", hint=f"0 to {MOST}")
        _check_ports(container)
        parse_affinity(container, names)
    for instance in descriptor.instances:
        check_id(instance.id)
    for leaving in descriptor.leaving:
        check_id(leaving.id)
    return descriptor


def _check_ports(container: Container) -> None:
    numbers = [(port.internal, port.protocol) for port in container.public_ports]
    for port in (*container.public_ports, *(alias for link in container.links for alias in link.alias_ports)):
        if not 1 <= port.internal <= 65535 or not 0 <= port.external <= 65535:
            raise Invalid(f"{port.internal}:{port.external} of {container.name} are no ports", hint="1 to 65535")
    for number in numbers:
        if numbers.count(number) > 1:
            raise Invalid(f"public port {number[0]}/{number[1]} of {container.name} is given twice")


class Affinity(Word):
    pack: bool = False
    host: str = ""
    not_with: tuple[str, ...] = ()


_AFFINITY = "spread, pack, host=NAME, not-with=CONTAINER; several with commas"


def parse_affinity(container: Container, names: Iterable[str]) -> Affinity:
    """Raises Invalid."""
    pack, host, not_with = False, "", list[str]()
    for word in filter(None, re.split(r"[\s,]+", container.affinity)):
        key, _, value = word.partition("=")
        if word in ("spread", "distribute", "pack"):
            pack = word == "pack"
        elif key == "host" and value:
            host = value
        elif key == "not-with" and value in names:
            not_with.append(value)
        else:
            what = f"there is no container {value}" if key == "not-with" and value else f"{word!r} is no affinity"
            raise Invalid(f"{what}, for {container.name}", hint=_AFFINITY)
    return Affinity(pack=pack, host=host, not_with=tuple(not_with))


def schema() -> dict[str, Any]:
    """The JSON Schema of a descriptor (2020-12), keys as they are written here."""
    found: dict[str, Any] = json.loads(msgspec.json.encode(msgspec.json.schema(Descriptor)))
    for each in found["$defs"].values():
        each.pop("description", None)  # Python's own words on a class, not a user's
        each["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "geard deployment", **found}
