"""The folders of a gear's own volumes, below `data/ab/ID/`. Pure."""

from __future__ import annotations

NAME_LIMIT = 240


def volume_folder(path: str) -> str:
    """The name of a volume's folder: /var/lib/mysql is var-lib-mysql. `-`, `%` and a first `.` are written %2D,
    %25 and %2E, so that no two paths share a folder, and none that of a draft (`.NAME.new`).
    """
    name = path.strip("/").replace("%", "%25").replace("-", "%2D").replace("/", "-") or "-"
    return f"%2E{name[1:]}" if name.startswith(".") else name
