"""A whole host of fakes, its folders in a temporary one."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from unittest import mock

from tests.fakes.engine import FakeEngine, make_image
from tests.fakes.journal import FakeJournal
from tests.fakes.rules import FakeRules
from tests.fakes.systemd import FakeSystemd

from geard.containers.unit_hooks import prepare
from geard.environments.file import parse
from geard.host import Host
from geard.host.control_groups import ControlGroups
from geard.host.engine import Image
from geard.host.paths import Paths
from geard.links import starting

SAMPLE = make_image("docker.io/geard/sample", ports=((8080, "tcp"),))


@dataclass(frozen=True)
class FakeHost(Host):
    """The same as Host, and known to be fake."""

    systemd: FakeSystemd
    journal: FakeJournal
    rules: FakeRules = field(default_factory=FakeRules)

    @property
    def engine(self) -> FakeEngine:
        return cast(FakeEngine, super().engine)

    @property
    def folder(self) -> Path:
        return self.paths.base.parent


def make_host(folder: Path, *images: Image) -> FakeHost:
    """A host that `gear setup` has been at; `images` are in the registry, the sample image too."""
    paths = Paths(folder / "containers", folder / "run", folder / "systemd", folder / "etc", folder / "state")
    for path in (paths.base, paths.run, paths.systemd, paths.settings, paths.base / "units"):
        path.mkdir(parents=True)
    (paths.base / "network").write_text("ipv4 10.183.0.0/16\nipv6 fd67:6561:7264:1::/64\n")
    known = {image.names[0]: image for image in (SAMPLE, *images)}
    host = FakeHost(
        paths,
        FakeSystemd(paths.systemd),
        {"podman": FakeEngine(registry=known)},
        FakeJournal(),
        groups=ControlGroups(folder / "machine"),
    )
    host.systemd.packaged["geard-pull@.service"] = "[Service]\nType=oneshot\nExecStart=/bin/true\n"
    host.systemd.packaged["geard-host.service"] = "[Service]\nExecStart=/bin/true\n"
    host.systemd.before["geard-pull@"] = lambda unit: _pull(host, unit)
    host.systemd.before["ctr-"] = lambda unit: _prepare(host, unit)
    host.systemd.said = host.journal.add
    return host


def _pull(host: FakeHost, unit: str) -> bool:
    """What gear-pull does."""
    key = unit.removeprefix("geard-pull@").removesuffix(".service")
    order = host.paths.run / "pulls" / key
    if not order.exists():
        return True  # who asked at the same moment has had it done: systemd has one job for both
    reason = host.engine.pull(json.loads(order.read_text())["name"])
    if reason:
        order.with_name(f"{key}.failed").write_text(reason)
        return False
    order.unlink()
    return True


_preparing = threading.Lock()  # a program of its own for each start, here one module for all hosts


def _prepare(host: FakeHost, unit: str) -> bool:
    """gear-prepare itself, where it has nothing to pull."""
    name = unit.removesuffix(".service")
    id = name.removeprefix("ctr-")
    facts = parse((host.paths.base / "units" / id[:2] / f"{name}.run").read_text())
    if "GEAR_RUN" not in facts or (host.paths.base / "units" / id[:2] / id / "hook-owed").exists():
        return False
    with _preparing:
        prepare.BASE, prepare.RUN = str(host.paths.base), str(host.paths.run / "gears")
        prepare.IMAGES = "/nowhere"  # nothing is known of the engine's store: images are taken to be there
        # Only root may give files away.
        with (
            mock.patch.object(sys, "argv", ["gear-prepare", name]),
            mock.patch.object(os, "fchown"),
            mock.patch.object(starting, "load", host.rules.load),
        ):
            return prepare.main(name) == 0


Tree = dict[str, str]


def tree(folder: Path) -> Tree:
    """All that is in a folder, to be compared: modes, links, contents. Hints, locks, records of requests are left
    out.
    """
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        if "requests" in path.parts:
            continue
        status = path.lstat()
        mode = f"{stat.S_IMODE(status.st_mode):o}"
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_dir():
            found[name] = f"folder {mode}"
        elif stat.S_ISREG(status.st_mode) and path.name != "next":
            found[name] = f"{mode} {path.read_bytes()!r}"
    return found
