"""Docker Engine: a daemon whose containers are no children of their units, so that a hook stands in for each.

What the unit does and why: docs/ARCHITECTURE.md, "A gear on Docker Engine". Questions go to the engine's socket
(Docker Engine API, https://docs.docker.com/reference/api/engine/), deeds to its client. The client is given a
folder of settings of geard's own: root's may name proxies, which would end up in gears, or another host's engine.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from geard.failures import Denied, Invalid, Unavailable
from geard.host.engine import ExecSpec, Image, OnceLine, OnceSpec, RunSpec, StoredImage, docker_exec
from geard.host.engine.words import exposed, limit_words, mount_word, network_words, once_words, publish_words
from geard.host.process import ProgramFailed, run
from geard.host.stores.docker import DockerStore, full_name

SETTINGS = Path("/etc/geard/docker")
DOCKER = ("/usr/bin/docker", "--config", str(SETTINGS))
SOCKET = "/run/docker.sock"
HOOK = "/usr/lib/geard/gear-docker"
LINK = "/usr/lib/geard/gear-link"
STORE = Path("/var/lib/docker/image/overlay2")
# What Docker gives and podman does not: with the first a gear makes frames with another's address.
LESS = ("--cap-drop=NET_RAW", "--cap-drop=MKNOD", "--cap-drop=AUDIT_WRITE")
ANSWER_SECONDS = 60
MOST = (1 << 62) - 4_096
UNPACK = (
    *("/usr/bin/tar", "--extract", "--file=-", "--same-owner", "--numeric-owner", "--same-permissions"),
    *("--xattrs", "--xattrs-include=*", "--directory"),
)


class Docker:
    name = "docker"
    remedy = "apt install docker.io docker-cli; systemctl start docker"
    bridge = "geard1"
    maps_users = False
    bounds_io = False  # 26.1 takes --device-read-bps, says nothing, and has none on record (cgroups v1)
    lends_files = False
    keeps_ready = False
    beside = True

    def __init__(self) -> None:
        self._images: dict[str, Image] = {}
        self._images_of: tuple[int, ...] | None = None
        self.store = DockerStore()

    def known(self, reference: str) -> Image | None:
        now = _store_signature()
        if now is None or now != self._images_of:
            self._images, self._images_of = {}, now
        return self._images.get(reference)

    async def image(self, reference: str) -> Image | None:
        """Raises Unavailable where the engine does not answer."""
        found = self.known(reference)
        if found is not None:
            return found
        answer = await _ask(f"/images/{quote(_whole(reference), safe='/:@')}/json")
        if answer is None:
            return None
        found = _image(answer)
        if self._images_of is not None:
            self._images[reference] = found
        return found

    def run_words(self, spec: RunSpec) -> list[str]:
        if spec.says_ready:
            raise Invalid(
                "on Docker Engine no gear can say that it is ready: containers have no $NOTIFY_SOCKET there",
                hint="--engine podman, or --wake-when listens: up as soon as its program listens",
            )
        words = [
            "--name", spec.name,
            "--hostname", spec.hostname or spec.name,
            "--stop-timeout", str(spec.stop_seconds),
        ]  # fmt: skip
        if spec.host_user is not None:
            words += ["--user", f"{spec.host_user.uid}:{spec.host_user.gid}"]
        words += [*network_words(spec), *limit_words(spec), *publish_words(spec)]
        for mount in spec.mounts:
            words += ["--mount", mount_word(mount)]
        for name, value in spec.labels:
            words += ["--label", f"{name}={value}"]
        command = spec.command
        if spec.entrypoint is not None:
            # Its client takes one word; the others stand before the command, where the engine looks for them.
            words += ["--entrypoint", *(spec.entrypoint[:1] or ("",))]
            command = (*spec.entrypoint[1:], *command)
        return [*words, spec.image, *command]

    def unit_lines(self) -> list[str]:
        # Never Requires=: a new dockerd (an upgrade) must not stop gears for good.
        return ["Wants=docker.service", "After=docker.service docker.socket"]

    def service_lines(self, run_words: str) -> list[str]:
        return [
            f"ExecStart={HOOK} run %N {run_words}",
            f"ExecStop={HOOK} stop %N",
            "ExecStopPost=/usr/lib/geard/gear-record %N",
        ]

    async def note_limits(self, container: str, spec: RunSpec) -> None:
        """With its systemd driver the limits are properties of a scope, which systemd sets again when it reads its
        units anew. What is to have no limit gets the most there is: 0 and -1 say nothing here.
        """
        here = os.cpu_count() or 1
        limits = {
            "Memory": spec.memory or MOST,
            "MemorySwap": (spec.memory_swap or 2 * spec.memory)
            if spec.memory and spec.memory_swap >= 0
            else 2 * MOST,
            "NanoCpus": int(min(spec.cpus or here, here) * 1e9),
            "PidsLimit": spec.pids or -1,
        }
        await _ask(f"/containers/{quote(container)}/update", limits)

    def exec_argv(self, spec: ExecSpec) -> list[str]:
        facts: dict[str, object] = {
            "AttachStdin": spec.stdin,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": spec.tty,
            # Not its Ctrl-P Ctrl-Q, which shells and editors use: the first of these keys is held back.
            "DetachKeys": ",".join(["ctrl-^"] * 8),
            "User": spec.user,
            "WorkingDir": spec.folder,
            "Cmd": spec.command,
        }
        program = str(Path(docker_exec.__file__))
        return [sys.executable, "-IS", program, spec.container, json.dumps(facts), spec.env_file, *spec.env_names]

    def exec_environment(self, spec: ExecSpec) -> dict[str, str]:
        return {}

    async def once(self, spec: RunSpec, how: OnceSpec) -> OnceLine:
        info = await _ask("/info") or {}
        parent = f"{how.slice}.slice" if info.get("CgroupDriver") == "systemd" else _slice_path(how.slice)
        words = [*DOCKER, "run", "--pull=never", "--log-driver=none", "--restart=no",
            "--security-opt=no-new-privileges", *LESS, f"--cgroup-parent={parent}",
            f"--detach-keys={','.join(['ctrl-^'] * 8)}"]  # fmt: skip
        words += ["--interactive"] if how.stdin or how.tty else []
        words += ["--tty"] if how.tty else []
        inspect = (*DOCKER, "container", "inspect", "--format")
        return OnceLine(
            argv=(*words, *once_words(how), *self.run_words(spec)),
            leaves=False,
            kill=(*DOCKER, "kill", "--signal"),
            remove=(*DOCKER, "rm", "--force", "--volumes"),
            ask_image=(*inspect, "{{.Image}}"),
            ask_oom=(*inspect, "{{.State.OOMKilled}}"),
            link=(LINK, how.links, "early") if how.links else (),
        )

    def pull_argv(self, reference: str, *, insecure: bool = False, certificates: str = "") -> list[str]:
        # dockerd alone says which registries it speaks to without TLS: "insecure-registries" of its daemon.json.
        return [*DOCKER, "pull", "--", reference]

    async def images(self) -> list[StoredImage]:
        return [_stored(row) for row in await _list("/images/json?digests=1")]

    async def containers_of_images(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for row in await _list("/containers/json?all=1"):
            name = str((row.get("Names") or [str(row["Id"])[:12]])[0]).lstrip("/")
            found.setdefault(str(row["ImageID"]).removeprefix("sha256:"), []).append(name)
        return found

    async def tag(self, id: str, name: str) -> None:
        await run([*DOCKER, "tag", f"sha256:{id}", name])

    async def remove_image(self, names: Sequence[str]) -> None:
        await run([*DOCKER, "rmi", "--", *names], timeout=600)

    def save_argv(self, image: str) -> list[str]:
        return [*DOCKER, "save", "--", image]

    def load_argv(self) -> list[str]:
        return [*DOCKER, "load", "--quiet"]

    def rename_argvs(self, old: str, new: str) -> list[list[str]]:
        if "@" in new:  # a digest is no name that could be given; the image is found by its id
            return []
        return [[*DOCKER, "tag", old, new], [*DOCKER, "rmi", "--no-prune", "--", old]]

    def name_argvs(self, id: str, old: str, new: str) -> list[list[str]]:
        tag = [*DOCKER, "tag", f"sha256:{id}"]
        return [[*DOCKER, "image", "inspect", f"sha256:{id}"], *([] if "@" in new else [[*tag, new]])]

    def forget_argv(self, name: str) -> list[str]:
        return [*DOCKER, "rmi", "--force", "--", name]

    async def image_files(self, image: str, path: str, target: str) -> None:
        made = (await run([*DOCKER, "create", "--pull=never", "--", image, "-"])).output.strip()
        try:
            files = await _archive(f"/containers/{made}/archive?path={quote(path.rstrip('/'))}/.")
            if files is not None:
                with files:
                    await run([*UNPACK, target], stdin=files, timeout=3600)
        finally:
            await run([*DOCKER, "rm", "--force", "--volumes", made], check=False)

    async def login(self, registry: str, user: str, password: str, *, insecure: bool = False) -> None:
        argv = [*DOCKER, "login", "--username", user, "--password-stdin", "--", registry]
        SETTINGS.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            await run(argv, stdin=password.encode())
        except ProgramFailed as error:
            if "unauthorized" in error.errors.lower() or "incorrect username" in error.errors.lower():
                raise Denied(f"{registry} does not accept this user and password") from None
            raise

    async def make_network(self, name: str, bridge: str, ipv4: str, ipv6: str) -> None:
        if (found := await _ask(f"/networks/{name}")) is not None:
            there = {net["Subnet"] for net in found["IPAM"]["Config"] or ()}
            if there == {net for net in (ipv4, ipv6) if net}:
                return
            await run([*DOCKER, "network", "rm", name])  # refused while containers run on it
        dual = ["--ipv6", "--subnet", ipv6] if ipv6 else []
        await run([*DOCKER, "network", "create", "--driver", "bridge", "--subnet", ipv4, *dual,
            "--opt", f"com.docker.network.bridge.name={bridge}", name])  # fmt: skip

    async def version(self) -> str:
        """Raises Unavailable where it is not installed, or does not run."""
        return str((await _ask("/version") or {}).get("Version", ""))

    async def storage_driver(self) -> str:
        return str((await _ask("/info") or {}).get("Driver", ""))

    def is_installed(self) -> bool:
        return any(Path(folder, "dockerd").exists() for folder in ("/usr/sbin", "/usr/bin", "/usr/local/bin"))

    def facts(self, spec: RunSpec) -> list[tuple[str, str]]:
        return [
            (
                "Users",
                "the host's own: Docker Engine has no range for each container; root inside is root outside",
            ),
            ("Neighbours", "Docker's name service tells it the names and addresses of the others on Docker"),
        ]


def _slice_path(slice: str) -> str:
    """/container.slice/container-job.slice (systemd.slice(5))."""
    parts = slice.split("-")
    return "".join(f"/{'-'.join(parts[:count])}.slice" for count in range(1, len(parts) + 1))


async def _ask(path: str, told: Mapping[str, object] | None = None) -> dict[str, Any] | None:
    return cast("dict[str, Any] | None", await _answer(path, told))


async def _list(path: str) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", await _answer(path) or [])


async def _answer(path: str, told: Mapping[str, object] | None = None) -> object:
    """What the engine's API has at `path`, or says when it is `told` something there; None where it has nothing.
    Raises Unavailable.

    Version 1.0 of HTTP, so that an answer ends with the connection.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(SOCKET)
            try:
                body = json.dumps(told).encode() if told is not None else b""
                more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
                request = f"{'POST' if body else 'GET'} {path} HTTP/1.0\r\nHost: docker\r\n{more}\r\n"
                writer.write(request.encode() + body)
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except OSError as error:  # TimeoutError is one
        why = error.strerror or f"nothing within {ANSWER_SECONDS:g} s"
        raise Unavailable(f"Docker Engine does not answer at {SOCKET}: {why}", hint=Docker.remedy) from None
    status = int((head.split(None, 2)[1:2] or [b"500"])[0])
    if status == 404:
        return None
    if status >= 400:
        raise Unavailable(f"Docker Engine failed: {body.decode(errors='replace').strip()[:500]}")
    return json.loads(body)


async def _archive(path: str) -> socket.socket | None:
    """The archive that the engine's API has at `path`, from its first byte on; None where there is no folder.

    Not by `docker cp`: that gives all files to root.
    """
    loop = asyncio.get_running_loop()
    line = socket.socket(socket.AF_UNIX)
    try:
        line.setblocking(False)
        await loop.sock_connect(line, SOCKET)
        await loop.sock_sendall(line, f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            letter = await loop.sock_recv(line, 1)  # and no more: what comes behind is not ours to read
            if not letter:
                raise Unavailable("Docker Engine ended in the middle of an answer", hint=Docker.remedy)
            head += letter
    except BaseException:
        line.close()
        raise
    if head.split(None, 2)[1] != b"200":
        line.close()
        return None
    line.setblocking(True)
    return line


def _store_signature() -> tuple[int, ...] | None:
    """Changes with Docker's names of images and with the images; None where its store is laid out otherwise."""
    try:
        names, images = os.stat(STORE / "repositories.json"), os.stat(STORE / "imagedb/content/sha256")
    except FileNotFoundError:
        return None
    return names.st_ino, names.st_mtime_ns, images.st_mtime_ns


def _whole(reference: str) -> str:
    """A name that cannot be taken for the beginning of an id, which the engine would complete."""
    if len(reference.removeprefix("sha256:")) == 64 or any(mark in reference for mark in "/:@"):
        return reference
    return f"{reference}:latest"


def _stored(row: Mapping[str, Any]) -> StoredImage:
    digests = [str(text).rpartition("@")[2] for text in row.get("RepoDigests") or ()]
    return StoredImage(
        id=str(row["Id"]).removeprefix("sha256:"),
        digest=next((each for each in digests if each.startswith("sha256:")), ""),
        names=tuple(sorted(full_name(name) for name in row.get("RepoTags") or () if name != "<none>:<none>")),
        size=int(row.get("Size") or 0),
        created=datetime.fromtimestamp(max(0, int(row.get("Created") or 0)), UTC).isoformat(timespec="seconds"),
    )


def _image(found: Mapping[str, Any]) -> Image:
    config = cast("Mapping[str, Any]", found.get("Config") or {})
    digests = [str(text).rpartition("@")[2] for text in found.get("RepoDigests") or ()]
    return Image(
        id=str(found["Id"]).removeprefix("sha256:"),
        digest=digests[0] if digests else "",
        names=tuple(found.get("RepoTags") or ()),
        ports=tuple(exposed(config.get("ExposedPorts") or {})),
        volumes=tuple(sorted(config.get("Volumes") or {})),
        user=str(config.get("User") or ""),
        command=(*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
    )
