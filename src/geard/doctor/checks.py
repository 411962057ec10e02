"""What geard cannot do without, and what stands beside it on a host."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

import geard
from geard import __version__
from geard.doctor.requests import Finding
from geard.failures import Failure, Invalid
from geard.host import Host
from geard.host.engine import Engine
from geard.host.process import run

OLDEST_SYSTEMD = 252
PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"
FIREWALLS = ("ufw", "firewalld")
TABLES = ("inet geard", "bridge geard")
SOCKETS = ("geard.socket", "geard-loopback.socket", "geard-loopback6.socket")


async def needed(host: Host) -> list[Finding]:
    """Without these nothing can be set up."""
    return [
        await systemd(host),
        *await engines(host),
        program("nft", "gears cannot be kept apart: none starts", "apt install nftables"),
        module("systemd", "no log and no events: the agent does not start", "apt install python3-systemd"),
    ]


async def systemd(host: Host) -> Finding:
    remedy = "boot this machine with systemd; geard runs nothing without it"
    found = await _ask("systemd", host.systemd.version, "no gear can be installed, started or stopped", remedy)
    number = re.match(r"v?(\d+)", found.detail)
    if found.state == "ok" and number and int(number[1]) < OLDEST_SYSTEMD:
        costs = f"geard is made for {OLDEST_SYSTEMD} and later: gears may not start, or not say why"
        return msgspec.structs.replace(found, state="advice", costs=costs, remedy="upgrade the distribution")
    return found


async def engines(host: Host) -> list[Finding]:
    """The default engine must be there; another may."""
    try:
        chosen = host.engine
    except Invalid:  # settings() says what is wrong
        chosen = None
    found: list[Finding] = []
    for engine in host.engines.values():
        default = engine is chosen
        if default or engine.is_installed():
            costs = "no gear can be installed or started" if default else "gears that are on it do not run"
            finding = await _ask(engine.name, engine.version, costs, engine.remedy)
            if finding.state == "missing" and not default:
                finding = msgspec.structs.replace(finding, state="advice")
            found.append(finding)
    return found


async def _ask(what: str, ask: Callable[[], Awaitable[str]], costs: str, remedy: str) -> Finding:
    try:
        return Finding(what=what, state="ok", detail=await ask())
    except Failure as failure:
        return Finding(what=what, state="missing", detail=failure.message, costs=costs, remedy=remedy)


def program(name: str, costs: str, remedy: str) -> Finding:
    path = shutil.which(name, path=PROGRAMS)
    if path:
        return Finding(what=name, state="ok", detail=path)
    return Finding(what=name, state="missing", costs=costs, remedy=remedy)


def module(name: str, costs: str, remedy: str) -> Finding:
    what = f"python3-{name}"
    if importlib.util.find_spec(name) is not None:
        return Finding(what=what, state="ok")
    return Finding(what=what, state="missing", costs=costs, remedy=remedy)


async def storage(host: Host, engine: Engine) -> list[Finding]:
    """How the engine keeps images: a driver that copies whole images makes each start slow."""
    if not engine.is_installed():
        return []
    try:
        driver = await engine.storage_driver()
    except Failure:
        if engine is host.engine:
            raise
        return []  # engines() says that it does not answer
    what = f"storage of {engine.name}"
    if driver != "vfs":
        return [Finding(what=what, state="ok", detail=driver)]
    costs = "each gear is a whole copy of its image: slow to start, and large"
    remedy = "apt install fuse-overlayfs, or another disk"
    return [Finding(what=what, state="advice", detail=driver, costs=costs, remedy=remedy)]


async def firewalls(host: Host) -> list[Finding]:
    """Foreign ones that are in force: gears' ports go past them."""
    units = await host.systemd.units(*(f"{name}.service" for name in FIREWALLS))
    active = [name.removesuffix(".service") for name, unit in units.items() if unit.active == "active"]
    return [foreign_firewall(name) for name in active]


def installed_firewalls() -> list[Finding]:
    return [foreign_firewall(name) for name in FIREWALLS if shutil.which(name, path="/usr/sbin:/usr/bin")]


def foreign_firewall(name: str) -> Finding:
    return Finding(
        what=name,
        state="advice",
        detail="published ports are opened by the engine's own rules, before this firewall's",
        costs="a port that it closes is open all the same where a gear publishes it",
        remedy="-p none publishes nothing; -p 127.0.0.1:… only to this machine",
    )


async def forwarding() -> list[Finding]:
    """dockerd drops what the host forwards where it was the one to turn forwarding on: podman's ports are cut."""
    if not shutil.which("iptables", path="/usr/sbin:/usr/bin"):
        return []
    rules = (await run(["iptables", "-S"], check=False)).output
    if "-P FORWARD DROP" not in rules or "-N DOCKER-USER" not in rules or "-A DOCKER-USER -o geard0" in rules:
        return []
    return [
        Finding(
            what="forwarding",
            state="advice",
            detail="Docker's firewall drops what this host forwards",
            costs="other machines reach no gears on podman",
            remedy="reboot, or: iptables -I DOCKER-USER -i geard0 -j ACCEPT;"
            " iptables -I DOCKER-USER -o geard0 -j ACCEPT",
        )
    ]


async def apart(host: Host) -> Finding:
    """The rules that keep gears apart: in force, or no gear starts."""
    what = "rules that keep gears apart"
    costs, remedy = "no gear starts", "systemctl restart geard-host; systemctl status geard-host"
    if not (host.paths.run / "host-ready").exists():
        if not (host.paths.base / "network").exists():
            return Finding(what=what, state="missing", detail="not made yet", costs=costs, remedy="gear setup")
        return Finding(what=what, state="broken", detail="not in force", costs=costs, remedy=remedy)
    tables = (await run(["/usr/sbin/nft", "list", "tables"])).output
    gone = [table for table in TABLES if f"table {table}\n" not in tables]
    if gone:
        costs = "gears that run reach each other and this host"
        detail = f"removed since: {', '.join(gone)}"
        return Finding(what=what, state="broken", detail=detail, costs=costs, remedy=remedy)
    return Finding(what=what, state="ok", detail="in force")


async def agent(host: Host) -> list[Finding]:
    """The agent's units, and whether what runs is what is installed."""
    units = await host.systemd.units("geard.service", *SOCKETS)
    service = units.get("geard.service")
    found: list[Finding] = []
    if service is not None and service.active == "failed":
        costs, remedy = "only root's gear works", "journalctl -u geard; systemctl restart geard"
        found.append(Finding(what="agent", state="broken", detail="it failed", costs=costs, remedy=remedy))
    closed = " ".join(name for name in SOCKETS[:2] if name not in units or units[name].active != "active")
    if closed:
        costs, remedy = "nobody but root on this machine can ask for anything", f"systemctl enable --now {closed}"
        found.append(Finding(what="agent", state="advice", detail="not open", costs=costs, remedy=remedy))
    running, there = __version__, installed_version()
    if service is not None and service.active == "active":
        said = str((await host.systemd.properties("geard.service")).get("StatusText", ""))
        running = said.removeprefix(f"{geard.__name__} ").partition(" ")[0] or running
    if running != there:
        remedy = "systemctl restart geard (no gear is touched)"
        detail, costs = f"{running} runs, {there} is installed", "what is new in it is not in force"
        found.append(Finding(what="version", state="advice", detail=detail, costs=costs, remedy=remedy))
    state = service.active if service is not None else "inactive"
    return found or [Finding(what="agent", state="ok", detail=f"geard {there}, {state}")]


def installed_version() -> str:
    """Of the files as they are now: an upgrade may have come since this process began."""
    text = Path(geard.__file__).read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    return found[1] if found else __version__


def settings(host: Host) -> Finding:
    what = "settings"
    try:
        own = sum(setting.origin != "default" for setting in host.settings.all())
    except Invalid as failure:
        costs = "what needs that table is refused: such as installs, or pulls"
        return Finding(what=what, state="broken", detail=failure.message, costs=costs, remedy=failure.hint)
    return Finding(what=what, state="ok", detail=f"{host.settings.path}, {own} of your own")
