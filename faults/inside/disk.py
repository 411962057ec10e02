"""The host's gears as they stand on disk: kept and put back, compared, and looked over for what must never be."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

BASE = Path("/var/lib/containers")
SYSTEMD = Path("/etc/systemd/system")
WANTS = SYSTEMD / "container-active.target.wants"
FOLDERS = tuple(BASE / name for name in ("units", "env", "data", "ports", "slots"))
STATE = Path("/run/geard/gears")
LED = Path("/run/geard/ports")
"""where ports that were changed while their gear runs lead"""
COUNTED = tuple(map(str, (*FOLDERS, SYSTEMD, STATE, LED, BASE / "jobs", "/run/geard/jobs")))

Tree = dict[str, str]


def counts(path: str) -> bool:
    """Whether this path is of gears: a change elsewhere (the terminal, a log) is none of ours."""
    return path.startswith(COUNTED)


def _places() -> list[Path]:
    return [path for path in (*FOLDERS, STATE, *_links()) if path.exists() or path.is_symlink()]


def _links() -> Iterator[Path]:
    yield from sorted(SYSTEMD.glob("ctr-*.service"))
    yield from sorted(SYSTEMD.glob(".*.tmp"))
    yield from sorted(WANTS.glob("*")) if WANTS.is_dir() else ()
    yield from sorted(WANTS.glob(".*")) if WANTS.is_dir() else ()


def keep() -> bytes:
    """All of it; hard links stay hard links."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in _places():
            archive.add(path)
    return buffer.getvalue()


def forget_requests() -> None:
    """Asked with the same id, a request would be told again, and not be done again."""
    for folder in (BASE / "requests", Path("/run/geard/requests")):
        for path in folder.glob("*"):
            if path.name != "key":
                path.unlink(missing_ok=True)


def put_back(kept: bytes) -> None:
    forget_requests()
    for path in _places():
        _remove(path)
    with tarfile.open(fileobj=io.BytesIO(kept)) as archive:
        archive.extractall("/", filter="fully_trusted")


def _remove(path: Path) -> None:
    """All of it but a folder that something is mounted on, as on data/: that is left empty."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for each in path.iterdir():
        _remove(each)
    with suppress(OSError):
        path.rmdir()


# --- compared

_VARYING = (
    (re.compile(r'("(?:Version|Written|Created|By)":)"[^"]*"'), r"\1_"),
    (re.compile(r'("(?:Slot|Uid)":)[0-9]+'), r"\1_"),
    (re.compile(r'("Cpus":[0-9]+)\.0\b'), r"\1"),
    (re.compile(r"(GEAR_VERSION=|X-ContainerRequestId=|X-ContainerUserId=|X-ContainerCreated=).*"), r"\1_"),
)


def tree() -> Tree:
    """Which gears there are, and what each is: but for names of versions and the number a gear was given."""
    found: Tree = {}
    for place in FOLDERS:
        for path in sorted(place.rglob("*")) if place.name != "slots" else ():
            name = str(path.relative_to(BASE))
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            elif path.is_file() and path.name != "next" and not _is_version(path):
                found[name] = _settled(path.read_text(errors="replace"))
    for link in _links():
        found[str(link)] = f"-> {link.readlink()}"
    return found


def _is_version(path: Path) -> bool:
    return path.parts[-4:-3] == ("units",) and path.name not in ("claiming", "deleting", "purging")


def _settled(text: str) -> str:
    facts = facts_of(text)
    for key in ("Ipv4", "Ipv6", "Mac", "Uid", "Level"):
        if facts.get(key):
            text = re.sub(rf"(?<![0-9a-z.]){re.escape(str(facts[key]))}(?![0-9a-z.])", f"<{key}>", text)
    for pattern, instead in _VARYING:
        text = pattern.sub(instead, text)
    return text


def facts_of(text: str) -> dict[str, Any]:
    first = text.partition("\n")[0]
    return json.loads(first.removeprefix("# geard: ")) if first.startswith("# geard: ") else {}


def differences(one: Tree, other: Tree) -> list[str]:
    """Where `one` is not as `other`, each with the first words that differ."""
    found: list[str] = []
    for name in sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)):
        here, there = one.get(name), other.get(name)
        same = next((at for at, (a, b) in enumerate(zip(here or "", there or "", strict=False)) if a != b), 0)
        at = max(same - 20, 0)
        found.append(f"{name}: {_short(here, at)} instead of {_short(there, at)}")
    return found


def _short(text: str | None, at: int) -> str:
    return "nothing" if text is None else repr(text[at : at + 70])


# --- what must never be


def problems(*, at_rest: bool) -> list[str]:
    """What is broken now; `at_rest`: also what somebody who comes by was to tidy up."""
    found: list[str] = []
    held: dict[str, set[str]] = {}
    for unit in sorted(BASE.glob("units/*/ctr-*.service")):
        held[str(unit)] = set()
        found += [f"{unit.stem}: {what}" for what in _broken(unit, held[str(unit)], at_rest=at_rest)]
    if at_rest:
        found += _left_over(held)
    return found


def _broken(unit: Path, held: set[str], *, at_rest: bool) -> Iterator[str]:
    id = unit.stem.removeprefix("ctr-")
    run, versions = unit.with_suffix(".run"), unit.parent / id
    text = unit.read_text()
    if not (text.startswith("# Written by geard") and "\n[Install]\n" in text and text.endswith("\n")):
        yield "the unit is not whole"
    if not run.exists():
        yield "it has no definition"
        return
    try:
        now = facts_of(run.read_text())
    except ValueError:
        now = {}
    if now.get("Id") != id:
        yield "the definition is not whole"
        return
    names = [path for path in versions.glob("*") if path.is_file()]
    for current in (unit, run):
        if at_rest and not any(path.samefile(current) for path in names):
            yield f"{current.name} is no version that is kept"
    if at_rest and f"X-ContainerRequestId={now['Version']}\n" not in text:
        yield "the unit is behind its definition"
    for path in versions.glob("*.run"):
        facts = facts_of(path.read_text())
        here = {_port(pair) for pair in facts.get("Ports") or ()} | {f"slot {facts['Slot']}"}
        held |= here
        if facts["Version"] == now["Version"]:
            yield from (f"{claim} is not its own" for claim in here if _owner(claim) != str(unit))
        if at_rest and not path.with_suffix("").exists():
            yield f"version {path.stem} has a definition and no unit"


def held_otherwise() -> Iterator[str]:
    """Gears whose disk is held to something else than is installed: until they are told again, or start."""
    for run in BASE.glob("units/*/ctr-*.run"):
        facts = facts_of(run.read_text())
        quota = facts.get("Limits", {}).get("Quota")
        if quota and (held_to := _quota(facts["Id"], facts["Slot"])) not in (None, quota):
            yield f"the disk of {facts['Id']} is held to {held_to} bytes, not {quota}"


def _quota(id: str, slot: int) -> int | None:
    """What its file system holds its volumes to; None where they are not there, or nobody counts."""
    from geard.containers.bounding import PROJECTS  # noqa: PLC0415 - most who look over a disk are without geard
    from geard.host.disk_quotas import DiskQuotas  # noqa: PLC0415

    folder = BASE / "data" / id[:2] / id
    use = DiskQuotas().use(folder, PROJECTS + slot) if folder.is_dir() else None
    return use.limit if use is not None else None


def _left_over(held: dict[str, set[str]]) -> Iterator[str]:
    for link in sorted((BASE / "ports/interfaces").rglob("*")) + sorted((BASE / "slots").glob("*")):
        if not link.is_symlink():
            continue
        number, _, protocol = link.name.partition(".")
        claim = f"slot {number}" if link.parent.name == "slots" else f"port {number}/{protocol or 'tcp'}"
        owner = os.readlink(link)
        id = Path(owner).stem.removeprefix("ctr-")
        keeps = link.parent.name == "slots" and (BASE / "data" / id[:2] / id).exists()
        if claim not in held.get(owner, ()) and not keeps:
            yield f"{claim} is kept for {id}, which does not have it"
    for link in _links():
        if link.name.endswith(".tmp") or not link.exists():
            yield f"{link} leads nowhere"
    for path in BASE.glob("ports/links/*/*"):
        if str(BASE / "units" / path.parent.name / f"ctr-{path.name}.service") not in held:
            yield f"{path} was left of a gear that is not there"
    for place in FOLDERS:
        for path in place.rglob(".*"):
            yield f"{path} was left"
    for name in ("claiming", "deleting", "purging"):
        yield from (f"{path} was left" for path in BASE.glob(f"units/*/*/{name}"))
    for folder in BASE.glob("units/*/*/"):
        if str(folder.parent / f"ctr-{folder.name}.service") not in held:
            yield f"{folder} was left of a gear that is not there"


def ports_of(id: str) -> dict[int, int]:
    """Port of the host by port of the gear, as its definition has them."""
    facts = facts_of((BASE / "units" / id[:2] / f"ctr-{id}.run").read_text())
    return {pair["Internal"]: pair["External"] for pair in facts.get("Ports") or ()}


def _port(pair: dict[str, Any]) -> str:
    return f"port {pair['External']}/{pair.get('Protocol', 'tcp')}"


def _owner(claim: str) -> str:
    kind, _, what = claim.partition(" ")
    if kind == "slot":
        path = BASE / "slots" / what
    else:
        number, _, protocol = what.partition("/")
        name = number if protocol == "tcp" else f"{number}.{protocol}"
        path = BASE / "ports/interfaces/1" / str(int(number) // 100) / name
    try:
        return os.readlink(path)
    except OSError:
        return ""
