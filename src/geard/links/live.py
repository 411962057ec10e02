"""The links of a gear that is started or runs: where each leads is written down, and is so in its namespace.

    /run/geard/gears/ctr-ID/links        what holds for the gear now, or for the start that is under way:
        gear 10.183.0.10 10.183.0.1          its address and the bridge's, which is the host to it
        tcp 127.0.0.1 8081 10.99.0.12 4000   a place inside, and where it is led
        tcp 127.0.0.1 8082 10.183.0.1 5432 here
        udp 192.168.1.1 53 - 0               led nowhere: its name is not known
    /run/geard/gears/ctr-ID/links-pid    the process whose namespace has them; from before its program's first call

Whoever changes the first, or reads it to load rules, holds the lock of the folder (flock(2)): so a change meets
either a start that has yet to read it, or a namespace to load it into. Standard library only: start hooks stand on
this module.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from geard.links import file, netns
from geard.links.far_ends import is_here, lead, look_up, names_of
from geard.links.file import Link
from geard.links.rules import Led, render_change, render_inside, render_openings


class Standing(NamedTuple):
    """What holds for a gear that is started or runs."""

    address: str
    gateway: str
    led: tuple[Led, ...]


class Place(NamedTuple):
    """A gear on a host, by the folders of both."""

    base: str
    """/var/lib/containers"""
    run: str
    """/run/geard"""
    id: str

    @property
    def links(self) -> str:
        return f"{self.base}/ports/links/{self.id[:2]}/{self.id}"

    @property
    def state(self) -> str:
        return f"{self.run}/gears/ctr-{self.id}"


def read_links(place: Place) -> tuple[Link, ...]:
    return file.parse(_read(place.links))


def standing(place: Place) -> Standing | None:
    """None where the gear has not been started with links, or nobody can make sense of what is written there."""
    return _standing(place.state)


def _standing(folder: str) -> Standing | None:
    lines = _read(f"{folder}/links").splitlines()
    try:
        _, address, gateway = lines[0].split(" ")
        return Standing(address, gateway, tuple(_parse_led(line) for line in lines[1:]))
    except (ValueError, IndexError):
        return None


def _parse_led(line: str) -> Led:
    protocol, from_host, from_port, address, port, *here = line.split(" ")
    return Led(protocol, from_host, int(from_port), "" if address == "-" else address, int(port), bool(here))


def _render(now: Standing) -> str:
    lines = [f"gear {now.address} {now.gateway}"]
    lines += [
        f"{led.protocol} {led.from_host} {led.from_port} {led.address or '-'} {led.port}" + " here" * led.here
        for led in now.led
    ]
    return "\n".join(lines) + "\n"


def process(place: Place) -> int:
    """A process of the gear that runs, its program or what becomes it; 0 where it does not run.

    A number may have become another program's: its control group tells whose it is.
    """
    container = _read(f"{place.state}/cid").strip()
    for name in ("links-pid", "pid"):
        with suppress(ValueError, OSError):
            pid = int(_read(f"{place.state}/{name}"))
            groups = _read(f"/proc/{pid}/cgroup")
            if f"/ctr-{place.id}.service" in groups or (container and container in groups):
                return pid
    return 0


def follow(
    place: Place,
    load: Callable[[str], None],
    *,
    starting: str = "",
) -> Standing | None:
    """Have a gear led as its links on disk say now, where it runs or is `starting` (on that engine); what holds
    then, None where nothing does. `load` takes rules of the host.

    Raises OSError where the kernel takes no rules; what is written down holds at the next start all the same.
    """
    while True:
        links = read_links(place)
        addresses = look_up(names_of(links))
        with _locked(place.state, make=bool(starting)) as there:
            if not there:
                return None
            if read_links(place) != links:
                continue
            had, pid = standing(place), 0 if starting else process(place)
            before = None if starting else had
            if not links and (starting or not pid):
                _settle(place, None, had, 0, load)
                return None
            if before is None and not (starting or (pid and links)):
                return None
            engine = starting or _read(f"{place.state}/engine") or "podman"
            now = _stand(place, links, addresses, before, engine)
            _settle(place, now, had, pid, load)
            return now


def _settle(
    place: Place, now: Standing | None, had: Standing | None, pid: int, load: Callable[[str], None]
) -> None:
    """Write down what holds, and make it so. What is cut short is done again by whoever comes next."""
    unfinished = f"{place.state}/links-unfinished"
    if now == had and not os.path.exists(unfinished):
        return
    _write(unfinished, "\n")
    _write(f"{place.state}/links", _render(now) if now is not None else "")
    if _openings(had) or _openings(now):
        _open(place.run, load)
    if pid and now is not None:
        netns.inside(pid, lambda: _change(now.led))
    os.unlink(unfinished)


def _stand(
    place: Place, links: Sequence[Link], known: dict[str, tuple[str, ...]], before: Standing | None, engine: str
) -> Standing:
    address, gateway = before[:2] if before is not None else _addresses(place, engine)
    return Standing(address, gateway, tuple(lead(links, known, gateway, before.led if before is not None else ())))


def _addresses(place: Place, engine: str) -> tuple[str, str]:
    """The gear's own, and that of its bridge: the first of the network, as engines give it."""
    definition = _read(f"{place.base}/units/{place.id[:2]}/ctr-{place.id}.run").partition("\n")[0]
    address = str(json.loads(definition.removeprefix("# geard: "))["Ipv4"])
    return address, gateway(place, engine)


def gateway(place: Place, engine: str = "podman") -> str:
    """The host, as gears on that engine's bridge know it; empty where `gear setup` has not run."""
    key = "ipv4" if engine == "podman" else f"{engine}-ipv4"
    for line in _read(f"{place.base}/network").splitlines():
        name, _, network = line.partition(" ")
        if name == key:
            first, _, last = network.partition("/")[0].rpartition(".")
            return f"{first}.{int(last) + 1}"
    return ""


def enter(place: Place, pid: int) -> None:
    """The gear's namespace is there, its program has yet to begin: have the rules in it. Raises OSError."""
    with _locked(place.state) as there:
        now = standing(place) if there else None
        if now is not None:
            netns.inside(pid, lambda: _enter(now.led))
            _write(f"{place.state}/links-pid", f"{pid}\n")


def enter_early(state: str, folder: str, seconds: float) -> bool:
    """The same for Docker Engine, which has no such hook: it makes a namespace known by a file in `folder`, gives
    it its address, and then starts the program some milliseconds later. Whether it was seen. `state`: the
    gear's folder in /run, or a job's.
    """
    now = _standing(state)
    others: set[str] = set()
    end = time.monotonic() + seconds
    while now is not None and time.monotonic() < end:
        with suppress(OSError):
            for name in os.listdir(folder):
                if name in others:
                    continue
                found = netns.inside(f"{folder}/{name}", lambda: _addresses_here(now.address))
                if found is True:
                    netns.inside(f"{folder}/{name}", lambda: _enter(now.led))
                    return True
                if found is False:
                    others.add(name)
        time.sleep(0.001)
    return False


def _addresses_here(address: str) -> bool | None:
    """Whether this namespace has the address; None where it has none at all yet."""
    if is_here(address):
        return True
    with open("/proc/thread-self/net/route", encoding="ascii") as routes:
        return False if len(routes.readlines()) > 1 else None


def _change(led: Sequence[Led]) -> None:
    try:
        netns.load(render_change(led))
    except OSError:  # it was started without links
        _enter(led)


def _enter(led: Sequence[Led]) -> None:
    netns.lead_loopback()
    netns.load(render_inside(led))


def forget(place: Place, load: Callable[[str], None]) -> None:
    """The gear is gone: what it was let in by is closed."""
    with _locked(place.state) as there:
        if there:
            _settle(place, None, standing(place), 0, load)


def lend(place: Place, folder: str, address: str, engine: str, load: Callable[[str], None]) -> dict[str, str]:
    """A job in the gear, at that address, is to be led as the gear is: laid out in its `folder`, for `enter_lent`;
    the variables that tell of it, none where the gear has no links. Raises OSError.
    """
    links = read_links(place)
    if links:
        known = look_up(names_of(links))
        to = gateway(place, engine)
        now = Standing(address, to, tuple(lead(links, known, to, ())))
        _write(f"{folder}/links", _render(now))
        if _openings(now):
            os.makedirs(f"{place.run}/gears", mode=0o700, exist_ok=True)
            _open(place.run, load)
    return file.variables(links)


def enter_lent(folder: str, pid: int) -> None:
    """As `enter`, for such a job. Raises OSError."""
    now = _standing(folder)
    if now is not None:
        netns.inside(pid, lambda: _enter(now.led))


def give_back(folder: str, run: str, load: Callable[[str], None]) -> None:
    """The job has ended: what it was let in by is closed. Raises OSError."""
    now = _standing(folder)
    if now is not None:
        os.unlink(f"{folder}/links")
        if _openings(now):
            _open(run, load)


def openings(run: str) -> str:
    """The host's rules for all gears that are led to the host itself."""
    return render_openings((now.address, led) for now in _all(run) for led in now.led)


def _openings(now: Standing | None) -> set[tuple[str, Led]]:
    return (
        {(now.address, led._replace(from_host="", from_port=0)) for led in now.led if led.here} if now else set()
    )


def _open(run: str, load: Callable[[str], None]) -> None:
    with _locked(f"{run}/gears"):
        load(openings(run))


def _all(run: str) -> Iterator[Standing]:
    for kind in ("gears", "jobs"):
        with suppress(FileNotFoundError):
            for name in sorted(os.listdir(f"{run}/{kind}")):
                now = _standing(f"{run}/{kind}/{name}")
                if now is not None:
                    yield now


@contextmanager
def _locked(folder: str, *, make: bool = False) -> Generator[bool]:
    """The lock of a folder in /run; False where there is none."""
    if make:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield True
    finally:
        os.close(fd)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as text:
            return text.read()
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return ""


def _write(path: str, text: str) -> None:
    """Whole; /run is gone with the machine, so no fsync. Nothing to write: no file."""
    if not text:
        with suppress(FileNotFoundError):
            os.unlink(path)
        return
    fd = os.open(f"{path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as draft:
        draft.write(text)
    os.rename(f"{path}.tmp", path)
