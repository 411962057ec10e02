"""Where a build is carried out: what was asked, where it stands, its users, limits, engine, folder of work.

Each step is written down before it is begun; what is printed is kept as it comes.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from geard.builds import records
from geard.builds.plan import Step
from geard.builds.records import Folders, Order
from geard.builds.requests import Build, BuildImage, StepDone
from geard.builds.running import Bounds, Engine
from geard.builds.scripts import ImageConfig
from geard.builds.settings import BuildSettings
from geard.containers import slots
from geard.containers.settings import ContainerSettings
from geard.containers.sizes import parse_size
from geard.environments.settings import FetchSettings
from geard.failures import Failure, NotFound, Unavailable
from geard.host import Host
from geard.host.storage import Changes
from geard.images.pulling import bring
from geard.jobs.output import OUTPUT, Kept

LAST_LINES = 12


class StepFailed(Failure):
    """A program of the build's ended with a status other than 0."""

    @property
    def kind(self) -> str:
        return "Failure"


class Workplace:
    def __init__(self, host: Host, id: str) -> None:
        self.host = host
        self.folders = Folders.of(host.paths, id)
        order = records.read_order(self.folders)
        if order is None:
            raise NotFound(f"there is no build {id} here")
        self.order: Order = order
        self.wish: BuildImage = order.wish
        self.build: Build = records.check_there(self.folders)
        self.settings = host.settings.section(BuildSettings)
        self.allow = host.settings.section(FetchSettings).allow
        self.name = records.container_name(id)
        self._kept = Kept(str(self.folders.base), parse_size(self.settings.output_limit))
        self._last: deque[bytes] = deque(maxlen=200)

    # --- what is told

    def say(self, text: str) -> None:
        self._kept.add(OUTPUT, f"{text}\n".encode(), time.time_ns() // 1_000)

    def heard(self, data: bytes) -> None:
        self._kept.add(OUTPUT, data, time.time_ns() // 1_000)
        self._last.append(data[-4_096:])

    def last_lines(self) -> tuple[str, ...]:
        text = b"".join(self._last).decode(errors="replace")
        return tuple(line[:500] for line in text.splitlines())[-LAST_LINES:]

    def note(self, **changes: object) -> None:
        self.build = msgspec.structs.replace(self.build, **changes)
        records.write_build(self.folders, self.build)

    def begin(self, step: Step, message: str = "") -> None:
        self.end_step()
        done = StepDone(name=step, began=records.now(), message=message)
        self.note(step=step, steps=(*self.build.steps, done))
        self.say(f"---> {step}{': ' if message else ''}{message}")

    def end_step(self) -> None:
        if self.build.steps and not self.build.steps[-1].ended:
            last = msgspec.structs.replace(self.build.steps[-1], ended=records.now())
            self.build = msgspec.structs.replace(self.build, steps=(*self.build.steps[:-1], last))

    def check_status(self, what: str, status: int) -> None:
        """Raises StepFailed."""
        if status != 0:
            raise StepFailed(_status_words(what, status))

    def close(self) -> None:
        self._kept.close()

    # --- what it runs in

    async def reserve(self) -> None:
        """Users and an address of this build's own, and a slice within whose limits all of it runs."""
        paths, id = self.host.paths, self.folders.id
        with Changes() as changes:
            ids = self.host.settings.section(ContainerSettings).slots
            slot = slots.reserve(paths, changes, self.folders.base, ids)
            changes.write(self.folders.slot, f"{slot}\n", 0o600)
        bounds = self._bounds = Bounds(
            slice=records.slice_name(id),
            slot=slot,
            network=slots.bridge(paths, "podman"),
            memory=parse_size(self.wish.memory or self.settings.memory),
            pids=self.wish.pids or self.settings.pids,
            cpus=self.settings.cpus if self.wish.cpus is None else self.wish.cpus,
        )
        properties: list[tuple[str, str, object]] = [
            ("Description", "s", f"What build {id} runs"),
            ("TasksMax", "t", bounds.pids),
        ]
        if bounds.memory:
            properties.append(("MemoryMax", "t", bounds.memory))
        if bounds.cpus:
            properties.append(("CPUQuotaPerSecUSec", "t", int(bounds.cpus * 1_000_000)))
        await self.host.systemd.start_transient(bounds.slice, properties)

    def engine(self, *, network: bool | None = None) -> Engine:
        """With a way out or without; where it is not said, as the build was asked."""
        if network is None:
            network = self.settings.network if self.wish.network is None else self.wish.network
        bounds = self._bounds if network else replace(self._bounds, network=None)
        return Engine(bounds, self.folders.work, self.heard)

    async def bring(self, engine: Engine, image: str) -> tuple[str, str, ImageConfig]:
        """Have an image here; its id, its digest, what it says of itself."""
        podman = self.host.engine_named("podman")
        await bring(self.host, podman, image, lambda _, text: self.say(text), request=self.order.request)
        return await engine.config(image)

    def environment_of_build(self) -> Mapping[str, str]:
        return {each.name: each.value for each in self.wish.environment}

    def caches(self) -> list[tuple[Path, str]]:
        base = records.caches(self.host.paths)
        found: list[tuple[Path, str]] = []
        for target in self.wish.cache:
            folder = base / records.cache_name(self.wish.source, self.wish.tag, target)
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            os.utime(folder)  # those that are used are kept
            found.append((folder, target))
        return found

    # --- what comes of it

    async def made(self, engine: Engine, id: str, previous: str) -> None:
        """The image is there; the one that had its tag goes, where that was asked."""
        _, digest, _ = await engine.config(id)
        self.note(image=id, digest=digest)
        await self.remove_previous(engine, previous, id)

    async def remove_previous(self, engine: Engine, previous: str, id: str) -> None:
        if self.wish.remove_previous and previous and previous != id:
            try:
                await engine.remove_image(previous)
                self.say(f"removed the image before, {previous[:12]}")
            except Unavailable as failure:  # the image is made: that counts
                self.say(f"the image before is kept: {failure.message}")


def full_tag(tag: str) -> str:
    return tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest"


def _status_words(what: str, status: int) -> str:
    known = {
        125: "the engine failed",
        126: "it cannot be executed",
        127: "there is no such program, or nobody knows how it ended",
        137: "it was killed",
    }
    return f"{what} ended with status {status}" + (f": {known[status]}" if status in known else "")
