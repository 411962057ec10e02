"""A host looked over, and the short question whether the agent can work."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable
from pathlib import Path

from geard import __version__
from geard.containers.ids import SLOTS
from geard.containers.settings import ContainerSettings
from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.doctor import checks, gears, logins, machine
from geard.doctor.requests import Diagnose, Diagnosis, Finding, GetHealth, Health
from geard.failures import Failure, Invalid, Unavailable
from geard.host import Host
from geard.ports.settings import PortSettings

ROOT = Path("/")
SYSTEMD_SECONDS = 3.0


@operation
async def diagnose(request: Diagnose, work: Work) -> Diagnosis:
    host = work.host
    here = await asyncio.gather(
        _looked("what geard needs", checks.needed(host)),
        *(_looked(f"storage of {each.name}", checks.storage(host, each)) for each in host.engines.values()),
        _looked("rules that keep gears apart", _one(checks.apart(host))),
        _looked("firewalls", checks.firewalls(host)),
        _looked("forwarding", checks.forwarding()),
        _looked("agent", checks.agent(host)),
        _looked("logins by SSH", logins.logins(host, ROOT)),
        _looked("gears", _one(gears.failed(host))),
        _looked("the machine", work.on_disk(_of_machine, host)),
    )
    return Diagnosis(version=__version__, findings=tuple(finding for part in here for finding in part))


def _ids(host: Host) -> range:
    """The slots of gears; all there are, where the settings are wrong, which is told beside."""
    try:
        return host.settings.section(ContainerSettings).slots
    except Invalid:
        return range(SLOTS)


def _of_machine(host: Host) -> list[Finding]:
    found = [
        checks.settings(host),
        machine.control_groups(ROOT),
        machine.user_namespaces(ROOT),
        machine.subordinate_ids(ROOT, _ids(host)),
        machine.mandatory_access(ROOT),
        machine.seccomp(ROOT),
        machine.quota(ROOT, host.paths.base),
        *machine.volumes(host.paths.base / "data"),
        *machine.disk(host.paths.base),
        *machine.journal(ROOT),
        machine.here_now(),
        *machine.certificates(machine.certificate_files(ROOT, host.paths.settings), time.time()),
        *gears.units(host),
    ]
    if found[0].state == "ok":
        found.append(machine.ports(ROOT, host.settings.section(PortSettings).numbers))
    return found


async def _one(finding: Awaitable[Finding]) -> list[Finding]:
    return [await finding]


async def _looked(what: str, findings: Awaitable[list[Finding]]) -> list[Finding]:
    """A check that itself cannot be made is a finding, and keeps no other from being made."""
    try:
        return await findings
    except Failure as failure:
        detail = f"cannot be looked at: {failure.message}"
        return [Finding(what=what, state="broken", detail=detail, remedy=failure.hint)]
    except OSError as error:
        detail = f"cannot be looked at: {error}"
        return [Finding(what=what, state="broken", detail=detail)]


@operation
async def get_health(request: GetHealth, work: Work) -> Health:
    systemd, disk = await asyncio.gather(_systemd(work.host), work.on_disk(_disk, work.host.paths.base))
    parts = {"Systemd": systemd, "Disk": disk, "Engine": _engine(work.host)}
    wrong = {part: text for part, text in parts.items() if text}
    if wrong:
        data = {part: text or "ok" for part, text in parts.items()}
        raise Unavailable("; ".join(wrong.values()), hint="gear doctor says more", data=data)
    return Health()


async def _systemd(host: Host) -> str:
    try:
        async with asyncio.timeout(SYSTEMD_SECONDS):
            await host.systemd.state("container.target")
    except (Failure, TimeoutError) as error:
        return f"systemd does not answer: {error}" if str(error) else "systemd does not answer"
    return ""


def _disk(base: Path) -> str:
    """Whether something can be written there, tried with a file that has no name and stays nowhere."""
    try:
        fd = os.open(base, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, b"x" * 4096)
        finally:
            os.close(fd)
    except OSError as error:
        return f"cannot write to {base}: {error.strerror}"
    return ""


def _engine(host: Host) -> str:
    try:
        engine = host.engine
    except Failure as failure:
        return failure.message
    return "" if engine.is_installed() else f"{engine.name} is not installed"
