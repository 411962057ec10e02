"""Words that podman's and Docker's command lines share, and what both call an image's ports. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geard.host.engine import IpProtocol, Mount, OnceSpec, Publish, RunSpec


def network_words(spec: RunSpec) -> list[str]:
    """Which network it is on, at which addresses; nothing where the engine is to choose."""
    network = spec.network
    if network is None:
        return []
    words = ["--network", network.name, "--ip", network.ipv4, "--mac-address", network.mac]
    return [*words, "--ip6", network.ipv6] if network.ipv6 else words


def limit_words(spec: RunSpec) -> list[str]:
    words: list[str] = []
    if spec.memory:
        words += ["--memory", str(spec.memory)]
    if spec.memory and spec.memory_swap:
        words += ["--memory-swap", str(spec.memory_swap)]
    if spec.cpus:
        words += ["--cpus", f"{spec.cpus:g}"]
    if spec.pids:
        words += ["--pids-limit", str(spec.pids)]
    return words


def once_words(how: OnceSpec) -> list[str]:
    words: list[str] = []
    if how.user:
        words += ["--user", how.user]
    if how.folder:
        words += ["--workdir", how.folder]
    if how.env_file:
        words += ["--env-file", how.env_file]
    for name in how.env_names:
        words += ["--env", name]
    if how.level:
        words.append(f"--security-opt=label=level:{how.level}")
    return words


def publish_words(spec: RunSpec) -> list[str]:
    return [word for port in spec.publish for word in ("--publish", publish_word(port))]


def publish_word(port: Publish) -> str:
    """One --publish value."""
    address = f"[{port.address}]:" if ":" in port.address else f"{port.address}:" if port.address else ""
    return f"{address}{port.external}:{port.internal}/{port.protocol}"


def mount_word(mount: Mount, *more: str) -> str:
    """One --mount value. It is read as CSV, so a field with a comma or a quote is quoted (RFC 4180)."""
    fields = ["type=bind", f"source={mount.source}", f"target={mount.target}"]
    if mount.read_only:
        fields.append("readonly=true")
    return ",".join(_csv(field) for field in (*fields, *more))


def exposed(ports: Mapping[str, Any]) -> list[tuple[int, IpProtocol]]:
    """8080, 8080/tcp, 53/udp, 8000-8002/tcp: the OCI image configuration's ExposedPorts. Others are left out."""
    found: set[tuple[int, IpProtocol]] = set()
    for text in ports:
        numbers, _, protocol = text.partition("/")
        first, _, last = numbers.partition("-")
        if protocol not in ("", "tcp", "udp") or not first.isdigit() or (last and not last.isdigit()):
            continue
        span = range(int(first), int(last or first) + 1)
        if len(span) <= 100 and span.stop <= 65_536:
            found |= {(number, "udp" if protocol == "udp" else "tcp") for number in span if number}
    return sorted(found)


def _csv(field: str) -> str:
    return '"' + field.replace('"', '""') + '"' if any(c in field for c in ',"\n\r') else field
