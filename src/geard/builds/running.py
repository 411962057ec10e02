"""The containers of a build: how the engine is told of them, and what is taken out of them. podman alone.

What runs has users of its own (a slot's), a place on the network of gears or none, limits, and of the host only
the folders it is given. All of it is inside one slice, so that ending the slice ends all.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geard.builds import owners
from geard.builds.archives import beneath
from geard.builds.scripts import ImageConfig
from geard.containers import slots
from geard.containers.units import NETWORK
from geard.failures import Failure, NotFound, Unavailable
from geard.host.engine.podman import QUIET
from geard.host.process import follow, run

LONG = 6 * 3_600.0
STORAGE = Path("/var/lib/containers/storage/overlay-containers")


@dataclass(frozen=True)
class Bounds:
    slice: str
    slot: int
    network: slots.Bridge | None
    """None: it reaches nothing"""
    memory: int
    pids: int
    cpus: float

    @property
    def first_id(self) -> int:
        return slots.uid_base(self.slot)

    def words(self) -> list[str]:
        """What holds for a container and for `podman build`."""
        words = ["--cgroup-parent", self.slice, "--http-proxy=false", "--pull=never"]
        if self.memory:
            words += ["--memory", str(self.memory), "--memory-swap", str(self.memory)]
        return words


@dataclass(frozen=True)
class Container:
    """One that runs a script and is kept until it is removed."""

    name: str
    image: str
    program: tuple[str, ...]
    mounts: tuple[tuple[Path, str], ...] = ()
    """folders of ours, their owner's to be whoever the image's user is"""
    read_only: tuple[tuple[Path, str], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


class Engine:
    def __init__(self, bounds: Bounds, work: Path, heard: Callable[[bytes], None]) -> None:
        self._bounds = bounds
        self._work = work
        self._heard = heard

    async def config(self, image: str) -> tuple[str, str, ImageConfig]:
        """Id, digest, and what the image says of itself."""
        done = await run([*QUIET, "image", "inspect", "--format", "json", "--", image])
        found: Mapping[str, Any] = json.loads(done.output)[0]
        id = str(found["Id"]).removeprefix("sha256:")
        return id, str(found.get("Digest") or ""), ImageConfig.read(found.get("Config") or {})

    async def has_files(self, image: str, folder: str, names: Sequence[str]) -> list[str]:
        """Which of these an image has in that folder."""
        mounted = (await run([*QUIET, "image", "mount", image])).output.strip()
        try:
            found = beneath(Path(mounted), folder)
            if found is None:
                return []
            return [name for name in names if _is_program(Path(mounted), f"{folder}/{name}")]
        finally:
            await run([*QUIET, "image", "unmount", image], check=False)

    async def create(self, container: Container) -> None:
        base = self._bounds.first_id
        mapping = f"0:{base}:{slots.RANGE}"
        words = [*QUIET, "create", "--replace", "--name", container.name,
            "--uidmap", mapping, "--gidmap", mapping, *self._bounds.words(), *self._network(),
            "--pids-limit", str(self._bounds.pids), "--log-driver=none", "--security-opt=no-new-privileges",
            "--stop-timeout", "5"]  # fmt: skip
        if self._bounds.cpus:
            words += ["--cpus", f"{self._bounds.cpus:g}"]
        for folder, target in container.mounts:
            words += ["--volume", f"{folder}:{target}:U,z"]
        for folder, target in container.read_only:
            words += ["--volume", f"{folder}:{target}:ro,z"]
        words += [*self._environment(container), "--entrypoint", json.dumps(list(container.program))]
        await run([*words, container.image])

    async def start(self, name: str, *, stdout: int | None = None) -> int:
        """Run it to its end; its program's status. What it prints is heard."""
        return await follow([*QUIET, "start", "--attach", name], self._heard, stdout=stdout)

    async def run(self, container: Container, *, stdout: int | None = None) -> int:
        await self.create(container)
        return await self.start(container.name, stdout=stdout)

    async def put(self, name: str, file: Path, target: str) -> None:
        """Copy a file into a container that does not run; it belongs to root there."""
        await run([*QUIET, "cp", "--", str(file), f"{name}:{target}"])

    async def carry_over(
        self, source: str, target: str, artifacts: Sequence[tuple[str, str]], folder: str
    ) -> None:
        """Copy what one container has at these paths below `folder` of another; neither runs. Raises NotFound."""
        roots = [Path((await run([*QUIET, "mount", name])).output.strip()) for name in (source, target)]
        for path, below in artifacts:
            found = beneath(roots[0], path)
            if found is None:
                raise NotFound(f"what was assembled has no {path} that could go to the runtime image")
            to = _folder_in(roots[1], f"{folder}/{below}", self._bounds.first_id)
            copied = f"{found}/." if found.is_dir() else str(found)
            await run(["cp", "-a", "--reflink=auto", "--", copied, f"{to}/"], timeout=LONG)

    async def commit(self, name: str, tag: str, changes: Sequence[str]) -> str:
        """Make an image of what a container has become; its id."""
        done = await run([*QUIET, "container", "inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", name])
        upper = done.output.strip()
        if not upper.startswith("/"):
            raise Unavailable(
                "the engine does not say where a container's changes are", hint="is its storage overlay?"
            )
        await run([*QUIET, "unmount", "--force", name], check=False)
        await asyncio.to_thread(owners.shift_folder, upper, self._bounds.first_id, slots.RANGE)
        words = [word for change in changes for word in ("--change", change)]
        done = await run([*QUIET, "commit", "--quiet", *words, "--", name, tag], timeout=LONG)
        return done.output.split()[-1].removeprefix("sha256:")

    async def build(
        self,
        folder: Path,
        file: Path,
        tag: str,
        *,
        environment: Mapping[str, str],
        labels: Mapping[str, str],
        base: str,
        caches: Sequence[tuple[Path, str]],
    ) -> int:
        """`podman build`; its status. The image has `tag`, and the owners that it is to have."""
        raw = f"localhost/geard-build:{self._bounds.slot}"
        mapping = f"0:{self._bounds.first_id}:{slots.RANGE}"
        words = [*QUIET, "build", "--userns-uid-map", mapping, "--userns-gid-map", mapping, "--isolation=oci",
            *self._bounds.words(), "--network", await self._namespace(), "--force-rm", "--log-level=error",
            "--no-cache", "--layers=false", "--format=docker", "--tag", raw, "--file", str(file)]  # fmt: skip
        words += ["--ulimit", f"nproc={self._bounds.pids}:{self._bounds.pids}"]
        words += [word for cache, target in caches for word in ("--volume", f"{cache}:{target}:U,z")]
        words += [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
        for name in environment:
            words += ["--build-arg", name]  # its value is in podman's own environment, and on no command line
        if base:
            words += ["--from", base]
        status = await follow([*words, "--", str(folder)], self._heard, environment=_harmless(environment))
        if status == 0:
            await self._give_owners(raw, tag)
        return status

    async def rename(self, image: str, tag: str) -> None:
        await run([*QUIET, "tag", "--", image, tag])

    async def remove_image(self, id: str) -> None:
        """Raises Unavailable where something uses it."""
        await run([*QUIET, "image", "rm", "--", id])

    async def _give_owners(self, raw: str, tag: str) -> None:
        saved, shifted = self._work / "image.tar", self._work / "shifted.tar"
        await run(
            [*QUIET, "save", "--quiet", "--format=docker-archive", "--output", str(saved), raw], timeout=LONG
        )
        changed = await asyncio.to_thread(
            owners.shift_archive, saved, shifted, self._work, self._bounds.first_id, slots.RANGE, raw
        )
        saved.unlink()
        wrong = (await run([*QUIET, "image", "inspect", "--format", "{{.Id}}", raw])).output.strip()
        if changed:
            await run([*QUIET, "load", "--quiet", "--input", str(shifted)], timeout=LONG)
        shifted.unlink()
        await run([*QUIET, "tag", raw, tag])
        await run([*QUIET, "untag", raw, raw])  # without the name all of its names would go
        if changed:
            await run([*QUIET, "image", "rm", "--force", wrong], check=False)

    async def _namespace(self) -> str:
        """A network namespace of geard's for `podman build`, which can give none an address: that of a container
        which is made ready and never started.
        """
        if self._bounds.network is None:
            return "none"
        name, rootfs = net_name(self._bounds.slice), self._work / "rootfs"
        rootfs.mkdir(exist_ok=True)
        (rootfs / "nothing").write_text("#!/nothing\n")
        (rootfs / "nothing").chmod(0o755)
        await run([*QUIET, "create", "--replace", "--name", name, "--cgroup-parent", self._bounds.slice,
            *self._network(), "--log-driver=none", "--rootfs", str(rootfs), "/nothing"])  # fmt: skip
        await run([*QUIET, "init", name])
        done = await run([*QUIET, "container", "inspect", "--format", "{{.NetworkSettings.SandboxKey}}", name])
        return f"ns:{done.output.strip()}"

    def _network(self) -> list[str]:
        if self._bounds.network is None:
            return ["--network", "none"]
        ipv4, ipv6, mac = slots.addresses(self._bounds.network, self._bounds.slot)
        words = ["--network", NETWORK, "--ip", ipv4, "--mac-address", mac]
        return [*words, "--ip6", ipv6] if ipv6 else words

    def _environment(self, container: Container) -> list[str]:
        if not container.environment:
            return []
        file = self._work / f"{container.name}.env"
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as text:
            text.writelines(f"{name}={value}\n" for name, value in container.environment.items())
        return ["--env-file", str(file)]


async def clear(id: str, name: str, slice: str) -> None:
    """Remove all containers of a build; what `podman build` was killed at, too."""
    names = [name, *(f"{name}-{each}" for each in ("saved", "runtime", "git")), net_name(slice)]
    await run([*QUIET, "rm", "--force", "--ignore", "--time=0", "--volumes", *names], check=False)
    if left := _left_by_build(slice):
        await run([*QUIET, "rm", "--force", "--ignore", *left], check=False)


def net_name(slice: str) -> str:
    return f"{slice.removesuffix('.slice')}-net"


def _left_by_build(slice: str) -> list[str]:
    """Containers of a killed `podman build` have names of its own making; their records say in which slice."""
    found: list[str] = []
    for record in STORAGE.glob("*/userdata/buildah.json"):
        try:
            said: dict[str, Any] = json.loads(record.read_text())
            options: dict[str, Any] = said.get("CommonBuildOpts") or {}
        except (OSError, ValueError):
            continue
        if options.get("CgroupParent") == slice:
            found.append(record.parent.parent.name)
    return found


def _is_program(root: Path, path: str) -> bool:
    found = beneath(root, path)
    return found is not None and found.is_file()


def _folder_in(root: Path, path: str, owner: int) -> Path:
    """A folder inside a container, made where it is not there. Raises Failure for a way that leads out."""
    at = root
    for part in path.strip("/").split("/"):
        if part in ("", "."):
            continue
        if not os.path.lexists(at / part):
            (at / part).mkdir(mode=0o755)
            os.chown(at / part, owner, owner)
        found = beneath(root, str((at / part).relative_to(root)))
        if found is None or not found.is_dir():
            raise Failure(f"the runtime image has something at {path} that is no folder")
        at = found
    return at


def _harmless(environment: Mapping[str, str]) -> dict[str, str]:
    """Raises Failure for names that would act on podman itself."""
    for name in environment:
        if name in ("PATH", "HOME", "TMPDIR") or name.startswith(
            ("LD_", "XDG_", "CONTAINERS_", "GO", "BUILDAH_", "_")
        ):
            raise Failure(f"{name} cannot be given to a Containerfile's build: podman reads it itself")
    return dict(environment)
