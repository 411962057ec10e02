"""What a container engine must offer; podman.py (the default) and docker.py say it in their tongue.

The engine's own name of a gear's container is `ctr-ID`, never the bare id: `podman rm -f d` was seen to remove
another container whose hexadecimal id began with d.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from geard.host.stores import Store

IpProtocol = Literal["tcp", "udp"]


@dataclass(frozen=True)
class Image:
    """An image that is here."""

    id: str
    """of its configuration: sha256, 64 hexadecimal digits"""
    digest: str
    """of its manifest, as registries know it: sha256:…"""
    names: tuple[str, ...]
    ports: tuple[tuple[int, IpProtocol], ...]
    volumes: tuple[str, ...]
    user: str
    command: tuple[str, ...]
    """entry point and command together; empty where the image names no program"""


@dataclass(frozen=True)
class StoredImage:
    """One of all images that are here."""

    id: str
    digest: str
    """of its manifest; empty where the engine knows none"""
    names: tuple[str, ...]
    size: int
    created: str
    """RFC 3339"""


@dataclass(frozen=True)
class Publish:
    internal: int
    external: int
    protocol: IpProtocol = "tcp"
    address: str = ""
    """the host's address; empty for all"""


@dataclass(frozen=True)
class Mount:
    source: str
    target: str
    read_only: bool = False
    managed: bool = False
    """one of geard's own volumes: id-mapped for the gear's users"""


@dataclass(frozen=True)
class Network:
    """A gear's fixed place on geard's bridge; None in a RunSpec leaves it to the engine."""

    name: str
    ipv4: str
    ipv6: str
    mac: str


@dataclass(frozen=True)
class SharedUser:
    """A user of the host, and which user of the container it is."""

    name: str
    uid: int
    gid: int
    inside: int = 0


@dataclass(frozen=True)
class RunSpec:
    """A container in the words all engines share. Rooms fill it in; an engine turns it into arguments."""

    name: str
    image: str
    hostname: str = ""
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    publish: tuple[Publish, ...] = ()
    mounts: tuple[Mount, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    network: Network | None = None
    uid_base: int | None = None
    """first host uid and gid of the gear's 65,536; None for no user namespace (--simple)"""
    host_user: SharedUser | None = None
    """who one of its users is outside; on an engine that maps none, who its program is"""
    memory: int = 0
    """bytes; 0 for no limit"""
    memory_swap: int = 0
    """bytes of memory and swap together; 0: the engine's way, twice the memory; -1 for no limit"""
    cpus: float = 0
    pids: int = 0
    stop_seconds: int = 10
    says_ready: bool = False
    """it has started when its program says so (sd_notify(3)), on an engine that has the words for it"""


@dataclass(frozen=True)
class ExecSpec:
    """A program to be run inside a container that runs."""

    container: str
    command: tuple[str, ...]
    stdin: bool = False
    tty: bool = False
    user: str = ""
    """the image's, where empty"""
    folder: str = ""
    env_file: str = ""
    """a file of NAME=VALUE lines: further variables, beside those the container has"""
    env_names: tuple[str, ...] = ()
    """further variables, whose values stand in the engine's own environment"""
    files: int = 0
    """so many open files of the engine's client it has too, from descriptor 3 on; see `lends_files`"""


@dataclass(frozen=True)
class OnceSpec:
    """What is said of a container that runs once, with somebody's input and output, beside its RunSpec."""

    state: str
    """a folder in which the engine notes which processes it has started"""
    slice: str
    tty: bool = False
    stdin: bool = False
    user: str = ""
    folder: str = ""
    env_file: str = ""
    env_names: tuple[str, ...] = ()
    """as with ExecSpec"""
    links: str = ""
    """what gear-link knows it by, where it has links"""
    level: str = ""
    """SELinux's, where that is on"""


@dataclass(frozen=True)
class OnceLine:
    """The command lines of a container that runs once, as the main process of its unit needs them."""

    argv: tuple[str, ...]
    leaves: bool
    """it ends when the program has begun, which `state` then tells of: `pid`, and `conmon`, whose status counts"""
    kill: tuple[str, ...]
    """followed by a signal's number and the container's name; empty where `pid` is there to be told"""
    remove: tuple[str, ...]
    ask_image: tuple[str, ...]
    ask_oom: tuple[str, ...]
    """followed by the container's name each; the id of its image, and `true` where it was killed for memory"""
    link: tuple[str, ...] = ()
    """what is run beside `argv` for the links; empty where it has none, or the engine sees to them itself"""


class Engine(Protocol):
    name: str
    remedy: str
    """what brings it here"""
    bridge: str
    """the interface of its network for gears: two engines cannot share one"""
    maps_users: bool
    """whether a gear can have a range of the host's ids to itself"""
    bounds_io: bool
    """whether it takes limits of reading and writing"""
    lends_files: bool
    """whether a program inside a container can be given open files of the host"""
    keeps_ready: bool
    """whether it can make a container whose program has yet to begin"""
    beside: bool
    """whether its containers are in control groups beside their units, not inside"""

    async def image(self, reference: str) -> Image | None:
        """The image of that name or id, if it is here; a name without a registry finds local ones first."""
        ...

    def known(self, reference: str) -> Image | None:
        """What `image` said last, if no image has come, gone or been renamed since; without asking the engine."""
        ...

    def run_words(self, spec: RunSpec) -> list[str]:
        """The arguments that stand in the definition, behind the constant ones of the unit."""
        ...

    def unit_lines(self) -> list[str]:
        """Lines of `[Unit]`: what must be there before a gear starts."""
        ...

    def service_lines(self, run_words: str) -> list[str]:
        """The lines of `[Service]` that start, stop and tidy up the container `%N`.

        `run_words` is what stands for the definition's arguments, to be split by systemd.
        """
        ...

    async def note_limits(self, container: str, spec: RunSpec) -> None:
        """The kernel is about to hold a container that runs to the limits in `spec`: an engine that would set its
        own again some time is told. Raises Failure.
        """
        ...

    def exec_argv(self, spec: ExecSpec) -> list[str]:
        """The command line that runs a program inside a container, with its exit status; 126 where it cannot be
        executed, 127 where there is no such program, 125 where the engine fails."""
        ...

    async def once(self, spec: RunSpec, how: OnceSpec) -> OnceLine:
        """How a container is run once, attached to what the process has that runs it."""
        ...

    def pull_argv(self, reference: str, *, insecure: bool = False, certificates: str = "") -> list[str]:
        """`insecure`: the registry is spoken to without TLS, where the engine can be told so here. `certificates`:
        a folder with what both prove themselves by, and no password is shown.
        """
        ...

    def name_argvs(self, id: str, old: str, new: str) -> list[list[str]]:
        """The command lines that give the image of that id a name in place of `old`; fail where it is not here."""
        ...

    def forget_argv(self, name: str) -> list[str]:
        """The command line that takes a name away, and with the last one the image; or does nothing."""
        ...

    @property
    def store(self) -> Store:
        """Its images as they stand on disk, to be handed on."""
        ...

    async def images(self) -> list[StoredImage]:
        """All that have names, or could have; not the layers that others are built on."""
        ...

    async def containers_of_images(self) -> dict[str, list[str]]:
        """image id -> containers made of it, running or not."""
        ...

    async def tag(self, id: str, name: str) -> None:
        """Give an image a further name, in place of another image that has it."""
        ...

    async def remove_image(self, names: Sequence[str]) -> None:
        """Take these names away, and with the last the image; a container's own stays. Raises ProgramFailed."""
        ...

    def save_argv(self, image: str) -> list[str]:
        """The command line that writes an image to its standard output."""
        ...

    def load_argv(self) -> list[str]:
        """The command line that takes in images from its standard input."""
        ...

    def rename_argvs(self, old: str, new: str) -> list[list[str]]:
        """The command lines that give an image another name, in place of the one it has."""
        ...

    async def image_files(self, image: str, path: str, target: str) -> None:
        """Copy what the image has below `path` into the empty folder `target`, with owners as in the image."""
        ...

    async def login(self, registry: str, user: str, password: str, *, insecure: bool = False) -> None:
        """Prove the credentials to the registry and keep them for pulls; `insecure` as with a pull."""
        ...

    async def make_network(self, name: str, bridge: str, ipv4: str, ipv6: str) -> None:
        """A network on a bridge of that name, unless it is there. No name service, nothing but addresses."""
        ...

    async def version(self) -> str: ...

    async def storage_driver(self) -> str:
        """How it keeps images: overlay, btrfs, vfs, … Raises Failure."""
        ...

    def is_installed(self) -> bool: ...

    def facts(self, spec: RunSpec) -> list[tuple[str, str]]:
        """Label and text for `gear status`: what of the gear's isolation depends on the engine."""
        ...
