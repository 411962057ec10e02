"""Volumes: how they are asked for, and the folders of a gear's own below `data/ab/ID/`. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from geard.containers.requests import Volume, VolumeConfig, VolumeMount
from geard.failures import Invalid

NAME_LIMIT = 240

_ESCAPED = re.compile(r"\\([,:\\])")


def volume_folder(path: str) -> str:
    """The name of a volume's folder: /var/lib/mysql is var-lib-mysql. `-`, `%` and a first `.` are written %2D,
    %25 and %2E, so that no two paths share a folder, and none that of a draft (`.NAME.new`).
    """
    name = path.strip("/").replace("%", "%25").replace("-", "%2D").replace("/", "-") or "-"
    return f"%2E{name[1:]}" if name.startswith(".") else name


def parse_volumes(items: Sequence[str]) -> VolumeConfig:
    """Each `-v`: PATH, HOST_PATH:PATH or HOST_PATH:PATH:ro, several with commas. Raises Invalid."""
    own: list[Volume] = []
    mounts: list[VolumeMount] = []
    for item in (part for text in items for part in _split(text, ",")):
        fields = [_ESCAPED.sub(r"\1", field) for field in _split(item, ":")]
        if len(fields) == 1:
            own.append(Volume(path=fields[0]))
        elif len(fields) in (2, 3) and (len(fields) == 2 or fields[2] in ("ro", "rw")):
            mounts.append(VolumeMount(path=fields[0], host_path=fields[1], read_only=fields[2:] == ["ro"]))
        else:
            raise Invalid(
                f"{item!r} is no volume",
                hint=r"PATH, or HOST_PATH:PATH, or HOST_PATH:PATH:ro; in a path \, is a comma, \: a colon",
            )
    return VolumeConfig(volumes=tuple(own), volume_mounts=tuple(mounts))


def _split(text: str, at: str) -> list[str]:
    r"""At each comma or colon that has no backslash before it; `\\` is a backslash that is none."""
    return re.findall(rf"(?:^|{at})((?:\\.|[^{at}\\]|\\$)*)", text, re.DOTALL)
