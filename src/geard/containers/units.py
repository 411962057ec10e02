"""A definition as text: the unit file and the definition file it reads. Pure.

The unit is the same for all versions of a gear but for its metadata (`X-` lines, which systemd passes over) and
what only a unit can say (slice, restart, the grace of a stop). What changes with a version is in the definition
file, so that an update needs no daemon-reload. The reasons for each line: docs/ARCHITECTURE.md, "The unit".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from geard.containers.definition import Definition
from geard.containers.folders import Folders, engine_name
from geard.containers.quoting import render_words
from geard.containers.volumes import volume_folder
from geard.environments.file import escape
from geard.facet import AnyFacet, Gear
from geard.host.engine import Engine, Mount, Network, RunSpec, SharedUser
from geard.words import builtins_of, part_of

MARK = "# geard: "
NETWORK = "geard"

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def gear_of(folders: Folders) -> Gear:
    return Gear(folders.id, folders.unit, folders.state)


def run_spec(definition: Definition, folders: Folders, facets: Sequence[AnyFacet]) -> RunSpec:
    """What the engine is to run, in the words all engines share."""
    limits, shared = definition.limits, definition.host_user
    spec = RunSpec(
        name=engine_name(definition.id),
        hostname=definition.id,
        image=definition.image_id or definition.image,
        command=definition.command,
        entrypoint=definition.entrypoint,
        mounts=mounts(definition, folders),
        labels=tuple(sorted(definition.labels.items())),
        network=Network(NETWORK, definition.ipv4, definition.ipv6, definition.mac),
        uid_base=definition.uid,
        host_user=None if shared is None else SharedUser(shared.name, shared.uid, shared.gid, shared.inside),
        memory=limits.memory or 0,
        memory_swap=-1 if limits.memory and limits.memory_swap == 0 else limits.memory_swap or 0,
        cpus=limits.cpus or 0,
        pids=limits.pids or 0,
        stop_seconds=definition.stop_timeout,
    )
    for facet in facets:
        spec = facet.run(gear_of(folders), part_of(facet.part, definition.parts), spec)
    return replace(spec, hostname=spec.hostname[:63].rstrip("-."))


def mounts(definition: Definition, folders: Folders) -> tuple[Mount, ...]:
    asked = [volume.path for volume in definition.volume_config.volumes]
    bound = {mount.host_path for mount in definition.volume_config.volume_mounts}
    own = [*asked, *(path for path in definition.image_volumes if path not in {*asked, *bound})]
    return (
        *(Mount(str(folders.data / volume_folder(path)), path, managed=True) for path in own),
        *(Mount(m.path, m.host_path, read_only=m.read_only) for m in definition.volume_config.volume_mounts),
    )


def render_run(definition: Definition, folders: Folders, facets: Sequence[AnyFacet], engine: Engine) -> str:
    """The definition file. Without GEAR_RUN while the image is not here."""
    gear = gear_of(folders)
    facts = msgspec.json.encode(builtins_of(definition)).decode()
    lines = [
        f"{MARK}{facts}\n",
        f'GEAR_VERSION="{definition.version}"\n',
        f'GEAR_ENGINE="{engine.name}"\n',
    ]
    if definition.uid is not None:
        lines.append(f'GEAR_UID="{definition.uid}"\n')
    if definition.level:
        lines.append(f'GEAR_LEVEL="{definition.level}"\n')
    if (shared := definition.host_user) is not None:
        lines.append(f'GEAR_HOST_USER="{shared.name} {shared.uid} {shared.gid} {shared.inside}"\n')
    if definition.limits.io_read or definition.limits.io_write:
        # Which disk that is, is seen at each start: the engine wants it by a device of /dev.
        lines.append(f'GEAR_IO="{definition.limits.io_read or 0} {definition.limits.io_write or 0}"\n')
    if definition.limits.quota:
        lines.append(f'GEAR_QUOTA="{definition.limits.quota}"\n')
    for facet in facets:
        for name, value in facet.lines(gear, part_of(facet.part, definition.parts)):
            lines.append(f'{name}="{escape(value)}"\n')
    # Rendered even where it is no use yet: what cannot be carried is refused now, not when the image has come.
    words = render_words("GEAR_RUN", engine.run_words(run_spec(definition, folders, facets)))
    if definition.complete:
        # GEAR_RUN comes last: its words may have lines that look like anything.
        lines += [f'GEAR_IMAGE="{definition.image_id}"\n', words]
    return "".join(lines)


def parse_run(text: str) -> str | None:
    """The facts in a definition file, as JSON; None where it is none of ours."""
    first = text.partition("\n")[0]
    return first.removeprefix(MARK) if first.startswith(MARK) else None


def render_unit(definition: Definition, folders: Folders, facets: Sequence[AnyFacet], engine: Engine) -> str:
    metadata = [
        ("X-ContainerId", definition.id),
        ("X-ContainerImage", definition.image),
        ("X-ContainerUserId", "" if definition.uid is None else str(definition.uid)),
        *([("X-ContainerHostUser", definition.host_user.name)] if definition.host_user is not None else []),
        ("X-ContainerRequestId", definition.version),
        ("X-ContainerType", "simple" if definition.simple else "isolated"),
        ("X-ContainerEngine", definition.engine),
        ("X-ContainerCreated", definition.created),
    ]
    for facet in facets:
        metadata += facet.metadata(part_of(facet.part, definition.parts))
    wanted = "".join(f"{line}\n" for line in engine.unit_lines())
    service = "\n".join(engine.service_lines("$GEAR_ENV $GEAR_RUN"))
    return f"""\
# Written by geard. Settings of your own belong into {folders.drop_ins}/
[Unit]
Description=Container {definition.id}
Documentation=man:gear(1)
Wants=geard-host.service network-online.target
After=geard-host.service network-online.target
Before=geard-going-down.service
{wanted}RequiresMountsFor={folders.paths.base}
# geard-host.service makes this file when the rules that keep gears apart are in force.
AssertPathExists={folders.paths.run}/host-ready
# Never give up: an outage of a registry or of DNS may last longer than any count of tries.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=all
Slice={definition.slice}.slice
Delegate=yes
KillMode=mixed
OOMPolicy=continue
SyslogIdentifier=%N
EnvironmentFile=-{folders.run}
EnvironmentFile=-{folders.state}/environment
ExecStartPre=/usr/lib/geard/gear-prepare %N
{service}
TimeoutStartSec=120
TimeoutStopSec={max(90, definition.stop_timeout + 15)}
Restart={definition.restart}
RestartSec=5s
{_good_ends(definition)}

[Install]
WantedBy=container.target
{"".join(f"{name}={_line(value)}" + chr(10) for name, value in metadata)}"""


def _good_ends(definition: Definition) -> str:
    """143: ended by TERM. 137: by KILL, as a stop ends who does not listen; but with Restart=on-failure a kill by
    the memory limit must not count as a good end. What it really was, gear-record writes down.
    """
    return "SuccessExitStatus=143 137" if definition.restart == "always" else "SuccessExitStatus=143"


def _line(value: str) -> str:
    """`value` on one line of a unit file. Images and ids are checked before; this keeps the line one line."""
    return _UNPRINTABLE.sub("?", value).rstrip("\\")
