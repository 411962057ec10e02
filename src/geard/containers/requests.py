"""The words of containers."""

from __future__ import annotations

from typing import Literal

from geard.containers.status import describe
from geard.ports.pairs import describe_mapping, render_mapping
from geard.ports.requests import PortPair
from geard.request import Answer, Request, Route
from geard.words import Part, Word

Restart = Literal["always", "on-failure", "no"]


class Volume(Word):
    """A folder that is kept for the gear over restarts and re-installs; geard owns it, below `data/`."""

    path: str


class VolumeMount(Word):
    """A folder or file of the host inside the gear. (The original's names: `path` is the host's.)"""

    path: str
    host_path: str = ""
    """where it is seen inside the gear"""
    read_only: bool = False


class VolumeConfig(Word):
    volumes: tuple[Volume, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()


class Limits(Word):
    """What a gear may use. Nothing said: the slice's default; 0: no limit of the gear's own."""

    memory: int | None = None
    """bytes"""
    memory_swap: int | None = None
    """bytes of memory and swap together; nothing said: twice the memory"""
    cpus: float | None = None
    pids: int | None = None
    """processes and threads"""
    io_read: int | None = None
    """bytes a second from the disk that /var/lib/containers is on"""
    io_write: int | None = None
    """bytes a second to it; only with control groups of version 2"""
    quota: int | None = None
    """bytes that all of its own volumes may hold together, where the file system counts that"""


class InstalledContainer(Answer):
    example = {
        "Id": "web-1",
        "Version": "W84-0qbWlQoXPRVUOIVzYg",
        "Ports": [{"Internal": 80, "External": 8080}],
        "Started": True,
        "Changed": True,
    }

    id: str
    version: str
    """the request id under which this definition is kept"""
    ports: tuple[PortPair, ...] = ()
    started: bool = False
    changed: bool = True
    """False where just this was installed before"""
    pending: bool = False
    """an update that takes effect when its image is here"""
    earlier: bool = False
    """a version of before that was brought back"""
    advice: tuple[str, ...] = ()
    """what its asker should know"""

    def headers(self) -> dict[str, str]:
        pairs = [pair for pair in self.ports if pair.protocol == "tcp"]  # the original's client reads no others
        return {"X-PortMapping": render_mapping(pairs)} if pairs else {}

    def text(self) -> str:
        lines = list[str]()
        if self.ports:
            lines.append("PortMapping: " + describe_mapping(self.ports))
        if self.pending:
            return f"Container {self.id} is being updated"
        state = "is installed" if self.changed else "is installed unchanged"
        if self.earlier:
            state = f"is back at version {self.version}"
        lines.append(f"Container {self.id} {state}{' and is starting' if self.started else ''}")
        lines += [f"  ! {text}" for text in self.advice]
        return "\n".join(lines)


class Wish(Word):
    """What is asked of a gear; its id stands in the path. Where nothing is said, the machine's settings hold."""

    id: str
    image: str
    engine: str = ""
    started: bool = False
    simple: bool = False
    """share the host's users instead of having a range of its own"""
    isolate: bool = False
    """the default, said aloud"""
    host_user: str = ""
    """USER or USER:ID: a user of the host that its root, or its user ID, is outside; `-`: none"""
    socket_activation: bool = False
    skip_socket_proxy: bool = False
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    volume_config: VolumeConfig = VolumeConfig()
    systemd_slice: str = ""
    restart: Restart | None = None
    limits: Limits = Limits()
    labels: dict[str, str] = {}
    stop_timeout: int | None = None
    """seconds between TERM and KILL"""
    parts: tuple[Part, ...] = ()


class InstallContainer(Wish, Request[InstalledContainer]):
    """Describe a container to systemd, replacing an earlier description of the same name."""

    route = Route("PUT", "/container/{id}")
    example = {
        "Id": "web-1",
        "Image": "docker.io/library/nginx:1.29",
        "Started": True,
        "Ports": [{"Internal": 80, "External": 8080}],
        "Environment": {"Variables": [{"Name": "TZ", "Value": "Europe/Berlin"}]},
        "VolumeConfig": {"Volumes": [{"Path": "/var/cache/nginx"}]},
        "Limits": {"Memory": 268435456, "Cpus": 0.5},
        "Labels": {"team": "shop"},
    }


class UpdateContainer(Request[InstalledContainer]):
    """Change what is said here of a gear that is there, and leave the rest. One that runs is restarted with it.

    Where nothing is said at all, or another image, the registry is asked for the newest image of that name.
    """

    route = Route("PATCH", "/container/{id}")
    example = {"Id": "web-1", "Image": "docker.io/library/nginx:1.30", "Limits": {"Memory": 536870912}}

    id: str
    image: str = ""
    renew: bool = False
    """ask the registry anew, whatever else is changed"""
    engine: str = ""
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    """an empty one: the image's again"""
    volume_config: VolumeConfig | None = None
    systemd_slice: str = ""
    restart: Restart | None = None
    limits: Limits = Limits()
    labels: dict[str, str] = {}
    """added to those that are there; an empty text takes one away"""
    stop_timeout: int | None = None
    host_user: str = ""
    """as in an install; `-`: users of its own again"""
    later: bool = False
    """leave what runs alone: the change comes with the next start"""
    parts: tuple[Part, ...] = ()


class RollBackContainer(Request[InstalledContainer]):
    """Make an earlier version the one in force; without one, that before the one in force."""

    route = Route("POST", "/container/{id}/rollback")
    example = {"Id": "web-1", "Version": "W84-0qbWlQoXPRVUOIVzYg"}

    id: str
    version: str = ""
    later: bool = False
    """leave what runs alone: the change comes with the next start"""


class KeptVersion(Word):
    """One version of a gear that is kept."""

    version: str
    """the request id it came with"""
    written: str
    """RFC 3339"""
    by: str = ""
    installed: bool = False
    running: bool = False
    image: str = ""
    image_id: str = ""
    digest: str = ""
    engine: str = ""
    changes: tuple[str, ...] = ()
    """what is different from the version before it, in words"""


class History(Answer):
    """The kept versions of a gear, the newest first."""

    example = {
        "Id": "web-1",
        "Versions": [
            {
                "Version": "W84-0qbWlQoXPRVUOIVzYg",
                "Written": "2026-11-24T02:26:34+00:00",
                "By": "uid 0 (root)",
                "Installed": True,
                "Running": True,
                "Image": "docker.io/library/nginx:1.29",
                "Changes": ["memory 256M, was 512M"],
            }
        ],
    }

    id: str
    versions: tuple[KeptVersion, ...]


class GetHistory(Request[History]):
    """Which versions of a gear are kept: what is in force, what runs, what can be rolled back to.

    It tells of changed commands, which may hold secrets: that takes more than the scope *read*.
    """

    route = Route("GET", "/container/{id}/versions", text=False)

    id: str


class Preview(Answer):
    """What an install would write."""

    unit: str
    definition: str

    def text(self) -> str:
        return f"# unit\n{self.unit}\n# definition\n{self.definition}".rstrip("\n")


class PreviewInstall(Wish, Request[Preview]):
    """What installing this would write; nothing on this request's path can write."""

    route = Route("POST", "/container/{id}/preview", scope="read")
    example = {"Id": "web-1", "Image": "docker.io/library/nginx:1.29"}


class Accepted(Answer):
    """A change of state is on record; the report tells what came of it."""

    example = {"Id": "web-1", "Message": "Container web-1 is starting"}

    id: str
    message: str

    def text(self) -> str:
        return self.message


class StartContainer(Request[Accepted]):
    """Have a gear run, now and after every boot."""

    route = Route("PUT", "/container/{id}/started")

    id: str


class StopContainer(Request[Accepted]):
    """Have a gear stopped, now and after every boot."""

    route = Route("PUT", "/container/{id}/stopped")
    example = {"Id": "web-1", "Wait": True}

    id: str
    wait: bool = False
    timeout: float | None = None
    """seconds after which the report gives up waiting; the stop itself goes on"""


class RestartContainer(Request[Accepted]):
    """Stop a gear and start what is installed."""

    route = Route("POST", "/container/{id}/restart")

    id: str


class DeleteContainer(Request[Accepted]):
    """Remove a gear. Its volumes and environment stay unless `purge`. One that is not there is fine."""

    route = Route("DELETE", "/container/{id}")

    id: str
    purge: bool = False


class PurgeContainers(Request[Accepted]):
    """Stop every gear of the machine, for good; delete none."""

    route = Route("DELETE", "/containers", scope="admin", reach="machine")


class ListedContainer(Word):
    id: str
    active_state: str
    sub_state: str
    load_state: str
    job_type: str = ""
    image: str = ""
    ports: tuple[PortPair, ...] = ()
    started: bool = False
    """whether it is to run, now and after a boot"""


class ContainerList(Answer):
    example = {
        "Containers": [
            {
                "Id": "web-1",
                "ActiveState": "active",
                "SubState": "running",
                "LoadState": "loaded",
                "Image": "docker.io/library/nginx:1.29",
                "Ports": [{"Internal": 80, "External": 8080}],
                "Started": True,
            }
        ]
    }

    containers: tuple[ListedContainer, ...]


class ListContainers(Request[ContainerList]):
    """The gears of a machine: those that systemd knows of, or `all` that are installed."""

    route = Route("GET", "/containers", scope="read", text=False, reach="shown")

    all: bool = False


class Fact(Word):
    label: str
    text: str


class ContainerStatus(Answer):
    """One gear in full."""

    example = {
        "Id": "web-1",
        "Unit": "ctr-web-1.service",
        "LoadState": "loaded",
        "ActiveState": "active",
        "SubState": "running",
        "Since": "2026-11-24T02:26:35+00:00",
        "Pid": 4711,
        "Started": True,
        "Image": "docker.io/library/nginx:1.29",
        "Facts": [{"Label": "Ports", "Text": "80 -> 8080"}],
        "Log": ["2026-11-24T02:26:35.102+00:00 systemd[1]: Started ctr-web-1.service - Container web-1."],
    }

    id: str
    unit: str
    load_state: str
    active_state: str
    sub_state: str
    since: str = ""
    """RFC 3339; when it entered this state"""
    result: str = ""
    exit_status: int | None = None
    restarts: int = 0
    pid: int = 0
    started: bool = False
    idle: bool = False
    """its first connection starts it"""
    image: str = ""
    image_id: str = ""
    digest: str = ""
    engine: str = ""
    installed_version: str = ""
    running_version: str = ""
    facts: tuple[Fact, ...] = ()
    """label and text: ports, login, protections, limits, …"""
    advice: tuple[str, ...] = ()
    """what an admin should know, most important first"""
    log: tuple[str, ...] = ()
    loaded: str = ""
    """systemctl's Loaded line"""

    def text(self) -> str:
        return describe(self)


class GetContainerStatus(Request[ContainerStatus]):
    route = Route("GET", "/container/{id}/status", scope="read")

    id: str
    lines: int = 10
    """how many lines of the log to end with"""


class DefinitionText(Answer):
    id: str
    files: tuple[Fact, ...]
    """path and content of each file that makes up the gear, drop-ins included"""

    def text(self) -> str:
        return "\n".join(f"# {file.label}\n{file.text}" for file in self.files).rstrip("\n")


class ShowDefinition(Request[DefinitionText]):
    """The definition in force: unit, its drop-ins, the engine's arguments. No value of the environment."""

    route = Route("GET", "/container/{id}/definition")

    id: str


class CompleteContainer(Request[Accepted]):
    """Bring the image of a gear here and fill in what depends on it. Asked by the unit's start hook."""

    id: str


class GoOn(Request[Accepted], omit_defaults=True):
    """What is left to do for a gear behind the answer to a change; done again, it ends in the same place.

    It goes by what is on disk, so it is right also where newer changes have come since.
    """

    id: str
    what: Literal["install", "update", "start", "restart", "stop", "delete", "ports"]
    since: float = 0
    """when the run began that a restart is to end, in seconds since 1970: a later one is left alone"""
    started: bool = False
    renew: bool = False
    """its definition takes the image that its name means here now"""
    reload: bool = False
    """systemd reads the unit anew"""
    new: bool = False
    """… if it has one of that name loaded"""
    later: bool = False
    pending: bool = False
    """an update that is owed until its image is here"""
    changed: bool = False
    seconds: float | None = None
    """for how long a stop is waited for"""


class StartWanted(Request[Accepted]):
    """Start every gear that is to run, a few at a time: the boot."""
