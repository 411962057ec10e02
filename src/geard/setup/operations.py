"""Setting up a host: what is missing is made, what is there is left."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from pathlib import Path

from geard import __version__
from geard.containers import networks, slots
from geard.containers.folders import ACTIVE_WANTS, active_wants
from geard.containers.slices import JOBS, SLICES, render_slice
from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.doctor import checks, machine
from geard.doctor.requests import Finding
from geard.failures import Failure
from geard.host import Host
from geard.host.engine import Engine
from geard.host.paths import Paths
from geard.host.process import run
from geard.host.storage import Changes, read_text
from geard.setup import logins, recovery, settings_file, ssh
from geard.setup.network import BRIDGES, moved, plan
from geard.setup.requests import GetVersion, HostReport, SetUpHost, Version

TARGETS = {
    "container.target": "Containers that are installed",
    "container-active.target": "Containers that are to run",
}
# Drop-ins for all units of a prefix: systemd.unit(5). Older systemd would complain of unknown settings.
ALL_GEARS = "ctr-.service.d/10-geard.conf"
GROWING_PAUSES = 254
# systemd 252 gives every uid above 999 a journal file of its own of 8 MB: one for each gear. Seen gone in 257.
JOURNALS_APART = 257
JOURNAL = Path("/etc/systemd/journald.conf.d/10-geard.conf")
ONE_JOURNAL = """\
# Written once by 'gear setup'; yours to change. Else this systemd keeps a file of 8 MB for each gear's users.
[Journal]
SplitMode=none
"""
PAUSES = """\
# Written once by 'gear setup'; yours to change. Pauses between restarts grow from RestartSec= to this.
[Service]
RestartSteps=6
RestartMaxDelaySec=2min
"""


@operation
async def get_version(request: GetVersion, work: Work) -> Version:
    engines = await asyncio.gather(*(_version_of(engine) for engine in work.host.engines.values()))
    return Version(
        version=__version__,
        engine=", ".join(text for text in engines if text),
        systemd=await work.host.systemd.version(),
    )


async def _version_of(engine: Engine) -> str:
    try:
        return f"{engine.name} {await engine.version()}"
    except Failure:
        return ""


@operation
async def set_up_host(request: SetUpHost, work: Work) -> HostReport:
    findings = await _look(work.host)
    if request.check and read_text(work.host.paths.base / "network") is None:
        findings.append(Finding(what="network", state="missing", detail="not made yet", remedy="gear setup"))
    if request.check or any(finding.bad for finding in findings):
        return HostReport(findings=tuple(findings))
    if request.recover:
        networks_here, finding = await _networks_of_the_disk(work, keep=not request.dry_run)
        findings += [finding] if finding is not None else []
        if request.dry_run:
            found = await recovery.plan(work, slots.bridges(networks_here)) if networks_here else []
            return HostReport(findings=tuple(findings), gears=tuple(recovery.planned(gear) for gear in found))
    for deed in (_folders, _network, _units, _journal, logins.users, ssh.doors):
        findings += await deed(work)
    findings += await checks.forwarding()
    if not request.recover:
        return HostReport(findings=tuple(findings))
    bridges = slots.bridges(read_text(work.host.paths.base / "network") or "")
    return HostReport(findings=tuple(findings), gears=await recovery.recover(work, bridges))


async def _look(host: Host) -> list[Finding]:
    groups = machine.control_groups(Path("/"))
    advice = [groups] if groups.state != "ok" else []
    return [*await checks.needed(host), *advice, *checks.installed_firewalls()]


async def _folders(work: Work) -> list[Finding]:
    def make() -> bool:
        paths = work.host.paths
        fresh = not (paths.base / "units").is_dir()
        with Changes() as changes:
            changes.folder(paths.base, 0o711)
            for name in ("units", "targets", "slices", "slots", "ports/interfaces/1", "ports/links"):
                changes.folder(paths.base / name)
            for name in ("env/contents", "data"):
                changes.folder(paths.base / name, 0o700)
            changes.folder(paths.systemd)
            changes.folder(paths.settings)
            changes.folder(paths.run)
            changes.folder(paths.run / "gears", 0o711)
        # podman makes it 0700; sshd's question for keys is asked as nobody and has to get through.
        os.chmod(paths.base, 0o711)
        if not work.host.settings.path.exists():
            with Changes() as changes:
                changes.write(work.host.settings.path, settings_file.TEXT, 0o644)
        return fresh

    fresh = await work.on_disk(make)
    return [Finding(what="folders", state="made" if fresh else "ok", detail=str(work.host.paths.base))]


async def _network(work: Work) -> list[Finding]:
    host = work.host
    path = host.paths.base / "network"
    before = read_text(path) or ""
    machine = hashlib.sha256((read_text(Path("/etc/machine-id")) or "").encode()).digest()
    text = plan(before, await _taken(), machine, ipv6=_has_ipv6())

    def write() -> None:
        with Changes() as changes:
            changes.write(path, text)

    if text != before:
        await work.on_disk(write)
    found: list[Finding] = []
    for engine in host.engines.values():
        if not await _answers(engine):
            continue
        bridge = await networks.make(host, engine)
        detail = f"{engine.bridge} {bridge.ipv4}" + (f" {bridge.ipv6}" if bridge.ipv6 else ", IPv4 only")
        found.append(
            Finding(what=f"network of {engine.name}", state="made" if text != before else "ok", detail=detail)
        )
    return found


async def _answers(engine: Engine) -> bool:
    try:
        await engine.version()
    except Failure:
        return False
    return True


async def _networks_of_the_disk(work: Work, *, keep: bool) -> tuple[str, Finding | None]:
    """The file of networks that the disk has, with others where this machine cannot have those; with `keep`,
    that is written down. Empty where the disk has none.
    """
    path = work.host.paths.base / "network"
    text = read_text(path) or ""
    here = moved(text, await _taken(), ipv6=_has_ipv6())
    gone = [line for line in text.splitlines() if line not in here.splitlines()]
    come = [line for line in here.splitlines() if line not in text.splitlines()]
    if not gone:
        return text, None
    if any(unit.active == "active" for unit in (await work.host.systemd.units("ctr-*.service")).values()):
        detail = f"{', '.join(gone)}: this machine cannot have that, but gears run on it"
        remedy = "stop them (systemctl stop 'ctr-*.service'), and gear setup --recover gives them another"
        return text, Finding(what="network of the disk", state="advice", detail=detail, remedy=remedy)

    def write() -> None:
        with Changes() as changes:
            changes.write(path, here)

    if keep:
        await work.on_disk(write)
    detail = f"{', '.join(gone)}: this machine cannot have that; here it is {', '.join(come) or 'without'}"
    return here, Finding(what="network of the disk", state="made", detail=detail)


async def _taken() -> list[str]:
    """The networks that this machine has routes to, geard's own bridges aside."""
    routes = json.loads((await run(["/usr/sbin/ip", "-j", "route", "show", "table", "all"])).output or "[]")
    return [str(route["dst"]) for route in routes if route.get("dev") not in BRIDGES]


def _has_ipv6() -> bool:
    return Path("/proc/net/if_inet6").exists()


async def _units(work: Work) -> list[Finding]:
    version = await work.host.systemd.version()

    def write() -> bool:
        paths = work.host.paths
        texts = {paths.base / "targets" / name: _target(about) for name, about in TARGETS.items()}
        slices = (*SLICES.values(), JOBS)
        texts |= {paths.base / "slices" / f"{slice.name}.slice": render_slice(slice) for slice in slices}
        fresh = False
        with Changes() as changes:
            for path, text in texts.items():
                if not path.exists():
                    changes.write(path, text)
                    fresh = True
                known = paths.systemd / path.name
                fresh = fresh or not known.is_symlink()
                changes.point(known, path)
            fresh = _keep_wants_on_the_disk(paths, changes) or fresh
            if _number(version) >= GROWING_PAUSES and not (paths.systemd / ALL_GEARS).exists():
                changes.folder((paths.systemd / ALL_GEARS).parent)
                changes.write(paths.systemd / ALL_GEARS, PAUSES)
                fresh = True
        return fresh

    fresh = await work.on_disk(write)
    if fresh:
        await work.host.systemd.reload()
    started: list[str] = []
    ready = work.host.paths.run / "host-ready"
    for unit in (
        "geard-host.service",
        "geard-going-down.service",
        "container.target",
        "geard-join.socket",
        *checks.SOCKETS,
    ):
        try:
            # Active since an earlier installation, it would do nothing, and its word that all is well be missing.
            lost = unit == "geard-host.service" and not ready.exists()
            ask = work.host.systemd.restart if lost else work.host.systemd.start
            result = await ask(unit, wait=60)
        except Failure as failure:
            result = failure.message
        if result not in ("done", "skipped"):
            started.append(f"{unit}: {result}")
    found = [Finding(what="slices and targets", state="made" if fresh else "ok")]
    if started:
        remedy = "systemctl status " + " ".join(text.partition(":")[0] for text in started)
        found.append(Finding(what="units", state="missing", detail="; ".join(started), remedy=remedy))
    return found


def _keep_wants_on_the_disk(paths: Paths, changes: Changes) -> bool:
    """One link in systemd's folder leads to those that say what is to run; True where that is news."""
    known, kept = paths.systemd / ACTIVE_WANTS, active_wants(paths)
    changes.folder(kept)
    if known.is_symlink() and os.readlink(known) == str(kept):
        return False
    if known.is_dir() and not known.is_symlink():
        for link in known.iterdir():
            if link.is_symlink():
                changes.point(kept / link.name, os.readlink(link))
        changes.sync()
        changes.remove_tree(known)
    changes.point(known, kept)
    return True


async def _journal(work: Work) -> list[Finding]:
    if _number(await work.host.systemd.version()) >= JOURNALS_APART:
        return []

    def write() -> bool:
        if JOURNAL.exists():
            return False
        with Changes() as changes:
            changes.folder(JOURNAL.parent)
            changes.write(JOURNAL, ONE_JOURNAL)
        return True

    made = await work.on_disk(write)
    if made:
        await work.host.systemd.restart("systemd-journald.service", wait=60)
    return [Finding(what="one journal for all gears", state="made" if made else "ok", detail=str(JOURNAL))]


def _number(version: str) -> int:
    """257 of 257.13-1~deb13u1."""
    found = re.match(r"v?(\d+)", version)
    return int(found[1]) if found else 0


def _target(about: str) -> str:
    return f"[Unit]\nDescription={about} (geard)\nDocumentation=man:gear(1)\n"
