"""Podman, run as root: no daemon, so that a container is a true child of its unit.

What the unit does and why was tried on real hosts with podman 5.4 (docs/ARCHITECTURE.md, "The unit").
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from geard.failures import Denied, Unavailable
from geard.host.engine import ExecSpec, Image, OnceLine, OnceSpec, RunSpec, SharedUser, StoredImage
from geard.host.engine.words import exposed, limit_words, mount_word, network_words, once_words, publish_words
from geard.host.process import ProgramFailed, run
from geard.host.storage import Changes
from geard.host.stores.podman import PodmanStore

PODMAN = "/usr/bin/podman"
QUIET = (
    PODMAN,
    "--events-backend=none",
)  # events would write 4 to 7 lines into the gear's journal at each start
RANGE = 65_536
STORE_LIST = Path("/var/lib/containers/storage/overlay-images/images.json")
NETWORKS = Path("/etc/containers/networks")
AUTH_FILE = "/etc/geard/registries.json"


CONFINED = ("--security-opt=no-new-privileges", "--sysctl=net.ipv4.ip_unprivileged_port_start=0")
"""No program gains rights by its file (set-uid, capabilities). So what images mostly want those for, a port below
1024 for who is not root, is everybody's, as Docker has it; the network is the container's own."""


class Podman:
    name = "podman"
    remedy = "apt install podman"
    bridge = "geard0"
    maps_users = True
    bounds_io = True
    lends_files = True
    keeps_ready = True
    beside = False

    def __init__(self) -> None:
        self._images: dict[str, Image] = {}
        self._images_of: tuple[int, int] | None = None
        self._asking: dict[str, asyncio.Task[Image | None]] = {}
        self.store = PodmanStore()
        self._version: tuple[tuple[int, int] | None, str] = (None, "")

    def known(self, reference: str) -> Image | None:
        now = _store_signature()
        if now is None or now != self._images_of:
            self._images, self._images_of = {}, now
        return self._images.get(reference)

    async def image(self, reference: str) -> Image | None:
        """Raises Failure where podman itself fails. Who asks for the same image meanwhile shares the answer."""
        found = self.known(reference)
        if found is not None:
            return found
        asking = self._asking.get(reference)
        if asking is None:
            asking = self._asking[reference] = asyncio.create_task(self._inspect(reference))
            asking.add_done_callback(lambda _: self._asking.pop(reference, None))
        found = await asyncio.shield(asking)
        if found is not None and self._images_of is not None:
            self._images[reference] = found
        return found

    async def _inspect(self, reference: str) -> Image | None:
        argv = [*QUIET, "image", "inspect", "--format", "json", "--", reference]
        finished = await run(argv, check=False)
        if finished.status != 0:
            if "not known" in finished.errors or "no such image" in finished.errors.lower():
                return None
            raise ProgramFailed(argv, finished.status, finished.errors)
        return _image(json.loads(finished.output)[0])

    def run_words(self, spec: RunSpec) -> list[str]:
        words = [
            "--name", spec.name,
            "--hostname", spec.hostname or spec.name,
            "--stop-timeout", str(spec.stop_seconds),
        ]  # fmt: skip
        if spec.uid_base is not None:
            words += _mapping_words(spec.uid_base, spec.host_user)
        words += [*network_words(spec), *limit_words(spec), *publish_words(spec)]
        for mount in spec.mounts:
            mapped = ["idmap"] if mount.managed and spec.uid_base is not None else []
            words += ["--mount", mount_word(mount, *mapped)]
        for name, value in spec.labels:
            words += ["--label", f"{name}={value}"]
        if spec.entrypoint is not None:
            words += ["--entrypoint", json.dumps(list(spec.entrypoint))]
        if spec.says_ready:
            words += ["--sdnotify=container"]  # the last one counts
        return [*words, spec.image, *spec.command]

    def unit_lines(self) -> list[str]:
        return []

    def service_lines(self, run_words: str) -> list[str]:
        state = "/run/geard/gears/%N"
        return [
            # What is in there, and why, says the file; podman before 4.4 does not read it.
            "Environment=CONTAINERS_CONF_OVERRIDE=/usr/lib/geard/podman.conf",
            "ExecStart=/usr/lib/geard/gear-run %N --replace --pull=never --cgroups=split"
            f" --log-driver=passthrough {' '.join(CONFINED)} --http-proxy=false"
            f" --pidfile={state}/pid --cidfile={state}/cid {run_words}",
            # The grace stands in the definition (--stop-timeout), below TimeoutStopSec=.
            "ExecStop=/usr/lib/geard/gear-stop %N",
            "ExecStopPost=/usr/lib/geard/gear-record %N",
        ]

    async def note_limits(self, container: str, spec: RunSpec) -> None:
        """What podman has on record of it acts at no time but its start."""

    def exec_argv(self, spec: ExecSpec) -> list[str]:
        options: list[str] = []
        if spec.stdin:
            options += ["--interactive"]
        if spec.tty:
            options += ["--tty", "--detach-keys="]  # else Ctrl-P, which shells and editors use, is held back
        if spec.user:
            options += ["--user", spec.user]
        if spec.folder:
            options += ["--workdir", spec.folder]
        if spec.env_file:
            options += ["--env-file", spec.env_file]
        for name in spec.env_names:
            options += ["--env", name]
        if spec.files:
            options += [f"--preserve-fds={spec.files}"]
        return [*QUIET, "exec", *options, "--", spec.container, *spec.command]

    async def once(self, spec: RunSpec, how: OnceSpec) -> OnceLine:
        words = [*QUIET, "run", "--pull=never", "--cgroups=split", "--sdnotify=ignore", "--http-proxy=false",
            *CONFINED, "--pidfile", f"{how.state}/pid"]  # fmt: skip
        if how.tty:
            words += ["--log-driver=none", "--interactive", "--tty", "--detach-keys="]
        else:
            # The program has our very input and output, and nobody copies: no podman stays, 50 MB each.
            words += ["--log-driver=passthrough", "--detach", "--cidfile", f"{how.state}/cid",
                "--conmon-pidfile", f"{how.state}/conmon"]  # fmt: skip
        words += [f"--annotation=geard.links={how.links}"] if how.links else []
        inspect = (*QUIET, "container", "inspect", "--format")
        return OnceLine(
            argv=(*words, *once_words(how), *self.run_words(spec)),
            leaves=not how.tty,
            kill=(),
            remove=(*QUIET, "--noout", "rm", "--force", "--volumes", "--ignore", "--time=0"),
            ask_image=(*inspect, "{{.Image}}"),
            ask_oom=(*inspect, "{{.State.OOMKilled}}"),
        )

    def pull_argv(self, reference: str, *, insecure: bool = False, certificates: str = "") -> list[str]:
        if certificates:
            return [*QUIET, "pull", "--cert-dir", certificates, "--", reference]
        auth = ["--authfile", AUTH_FILE] if Path(AUTH_FILE).exists() else []
        tls = ["--tls-verify=false"] if insecure else []
        return [*QUIET, "pull", *auth, *tls, "--", reference]

    async def images(self) -> list[StoredImage]:
        rows = json.loads((await run([*QUIET, "images", "--no-trunc", "--format", "json"])).output or "[]")
        return list({row["Id"]: _stored(row) for row in rows}.values())  # it has a row for each name

    async def containers_of_images(self) -> dict[str, list[str]]:
        # --external: also those of buildah, which podman did not make
        said = await run([*QUIET, "ps", "--all", "--external", "--no-trunc", "--format", "json"])
        found: dict[str, list[str]] = {}
        for row in json.loads(said.output or "[]"):
            found.setdefault(str(row["ImageID"]), []).append(str((row.get("Names") or [row["Id"][:12]])[0]))
        return found

    async def tag(self, id: str, name: str) -> None:
        await run([*QUIET, "tag", "--", id, name])

    async def remove_image(self, names: Sequence[str]) -> None:
        await run([*QUIET, "rmi", "--", *names], timeout=600)

    def save_argv(self, image: str) -> list[str]:
        # Docker's format: as the OCI layout it has another configuration, so the image would have another id.
        return [*QUIET, "save", "--quiet", "--format", "docker-archive", "--", image]

    def load_argv(self) -> list[str]:
        return [*QUIET, "load", "--quiet"]

    def rename_argvs(self, old: str, new: str) -> list[list[str]]:
        if "@" in new:  # a digest is no name that could be given; the image is found by its id
            return []
        return [[*QUIET, "tag", "--", old, new], [*QUIET, "untag", "--", old, old]]

    def name_argvs(self, id: str, old: str, new: str) -> list[list[str]]:
        exists = [*QUIET, "image", "exists", id]
        if "@" in new:  # a digest is no name that could be given
            return [exists]
        return [exists, [*QUIET, "tag", "--", id, new], [*QUIET, "untag", "--", id, old]]

    def forget_argv(self, name: str) -> list[str]:
        return [*QUIET, "rmi", "--ignore", "--", name]

    async def image_files(self, image: str, path: str, target: str) -> None:
        mounted = (await run([*QUIET, "image", "mount", image])).output.strip()
        try:
            source = _beneath(mounted, path)
            if source is not None:
                shutil.copystat(source, target)
                owner = os.stat(source)
                os.chown(target, owner.st_uid, owner.st_gid)
                await run(["cp", "-a", "--reflink=auto", "--", f"{source}/.", target], timeout=3600)
        finally:
            await run([*QUIET, "image", "unmount", image], check=False)

    async def login(self, registry: str, user: str, password: str, *, insecure: bool = False) -> None:
        argv = [
            *QUIET,
            "login",
            "--authfile",
            AUTH_FILE,
            "--username",
            user,
            "--password-stdin",
            *(["--tls-verify=false"] if insecure else []),
            "--",
            registry,
        ]
        Path(AUTH_FILE).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            await run(argv, stdin=password.encode())
        except ProgramFailed as error:
            if "unauthorized" in error.errors.lower() or "invalid username" in error.errors.lower():
                raise Denied(f"{registry} does not accept this user and password") from None
            raise

    async def make_network(self, name: str, bridge: str, ipv4: str, ipv6: str) -> None:
        found = await run([*QUIET, "network", "inspect", name], check=False)
        if found.status == 0:
            there = {subnet["subnet"] for subnet in json.loads(found.output)[0].get("subnets") or ()}
            if there != {net for net in (ipv4, ipv6) if net}:
                await _renumber(name, bridge, [net for net in (ipv4, ipv6) if net])
            return
        dual = ["--ipv6", "--subnet", ipv6] if ipv6 else []
        argv = [*QUIET, "network", "create", "--disable-dns", "--interface-name", bridge,
            "--subnet", ipv4, *dual, name]  # fmt: skip
        try:
            await run(argv)
        except ProgramFailed as error:
            if "unknown flag" not in error.errors:
                raise
            # podman 4.3 (Debian 12) cannot name the bridge; the file it would write can. Drop with Debian 12.
            _write_network(name, bridge, [net for net in (ipv4, ipv6) if net])

    async def version(self) -> str:
        file = _signature(Path(PODMAN))
        if file is None or file != self._version[0]:
            said = await run([PODMAN, "version", "--format", "{{.Client.Version}}"])
            self._version = (file, said.output.strip())
        return self._version[1]

    async def storage_driver(self) -> str:
        return (await run([PODMAN, "info", "--format", "{{.Store.GraphDriverName}}"])).output.strip()

    def is_installed(self) -> bool:
        return Path(PODMAN).exists()

    def facts(self, spec: RunSpec) -> list[tuple[str, str]]:
        if spec.uid_base is None:
            users = "the host's own (simple)"
        elif spec.host_user is not None:
            users = _shared_users(spec.uid_base, spec.host_user)
        else:
            users = f"host ids from {spec.uid_base}, {RANGE} of them; root inside is nobody outside"
        return [("Users", users)]


def _shared_users(base: int, shared: SharedUser) -> str:
    who = f"user {shared.inside}" if shared.inside else "root"
    return f"{who} inside is {shared.name} (uid {shared.uid}) outside; the others host ids from {base}"


def _mapping_words(base: int, shared: SharedUser | None) -> list[str]:
    """Which ids inside are which outside: all those from `base` on, but for the one that is shared."""
    if shared is None:
        return ["--uidmap", f"0:{base}:{RANGE}", "--gidmap", f"0:{base}:{RANGE}"]
    ids = (("--uidmap", shared.uid), ("--gidmap", shared.gid))
    return [word for option, id in ids for each in _ranges(base, shared.inside, id) for word in (option, each)]


def _ranges(base: int, inside: int, outside: int) -> list[str]:
    parts = [(0, base, inside), (inside, outside, 1), (inside + 1, base + inside + 1, RANGE - inside - 1)]
    return [f"{first}:{there}:{count}" for first, there, count in parts if count]


def _store_signature() -> tuple[int, int] | None:
    """Changes with podman's list of images; None where the store is laid out otherwise: nothing is remembered."""
    return _signature(STORE_LIST)


def _signature(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


async def _renumber(name: str, bridge: str, subnets: Sequence[str]) -> None:
    """Give a network other addresses. Not by `network rm`: that refuses while containers that a lost machine left
    in podman's records name it. Raises Unavailable where containers run on it.
    """
    running = await run([*QUIET, "ps", "--quiet", "--filter", f"network={name}"])
    if running.output.strip():
        raise Unavailable(
            f"the network {name} here has other addresses than {', '.join(subnets)}, and gears run on it",
            hint="gear purge stops them all, for good; or systemctl stop 'ctr-*.service', and again",
        )
    _write_network(name, bridge, subnets)
    await run(["/usr/sbin/ip", "link", "delete", bridge], check=False)  # made anew with the next start


def _write_network(name: str, bridge: str, subnets: Sequence[str]) -> None:
    networks = [ipaddress.ip_network(subnet) for subnet in subnets]
    facts = {
        "name": name,
        "id": hashlib.sha256(name.encode()).hexdigest(),
        "driver": "bridge",
        "network_interface": bridge,
        "created": datetime.now(UTC).isoformat(),
        "subnets": [{"subnet": str(net), "gateway": str(net[1])} for net in networks],
        "ipv6_enabled": any(net.version == 6 for net in networks),
        "internal": False,
        "dns_enabled": False,
        "ipam_options": {"driver": "host-local"},
    }
    with Changes() as changes:
        changes.folder(NETWORKS)
        changes.write(NETWORKS / f"{name}.json", json.dumps(facts, indent=4) + "\n")


def _beneath(root: str, path: str) -> str | None:
    """The folder `path` inside `root`, with no link on the way leading out; None where there is none."""
    found = os.path.realpath(os.path.join(root, path.lstrip("/")))
    inside = found == root or found.startswith(root.rstrip("/") + "/")
    return found if inside and os.path.isdir(found) else None


def _stored(row: Mapping[str, Any]) -> StoredImage:
    created = datetime.fromtimestamp(int(row.get("Created") or 0), UTC)
    return StoredImage(
        id=str(row["Id"]).removeprefix("sha256:"),
        digest=str(row.get("Digest") or ""),
        names=tuple(sorted(row.get("Names") or ())),
        size=int(row.get("Size") or 0),
        created=created.isoformat(timespec="seconds"),
    )


def _image(found: Mapping[str, Any]) -> Image:
    config = cast("Mapping[str, Any]", found.get("Config") or {})
    return Image(
        id=str(found["Id"]).removeprefix("sha256:"),
        digest=str(found.get("Digest", "")),
        names=tuple(found.get("RepoTags") or ()),
        ports=tuple(exposed(config.get("ExposedPorts") or {})),
        volumes=tuple(sorted(config.get("Volumes") or {})),
        user=str(config.get("User") or ""),
        command=(*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
    )
