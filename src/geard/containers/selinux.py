"""SELinux, where it is on: a level of its own for every gear, on its programs and on its volumes, so that the
kernel keeps one gear from another's files even where it is root.

A level is a pair of categories, s0:c3,c7. It follows from the gear's slot, so that no two gears have the same.
Standard library only: a start waits for this.
"""

from __future__ import annotations

import os
import re
from math import isqrt

CATEGORIES = 1_024
MOUNT = "/sys/fs/selinux"
SETTINGS = "/etc/selinux"
CONTEXT = "system_u:object_r:container_file_t:s0"
_ATTRIBUTE = "security.selinux"
_PAIR = re.compile(r"s0:c\d+,c\d+")


def level_of(slot: int) -> str:
    """The slot-th of all pairs: c0,c1; c0,c2; c1,c2; c0,c3; … 523,776 of them. Pure."""
    if not 0 <= slot < CATEGORIES * (CATEGORIES - 1) // 2:
        raise ValueError(f"there is no pair of categories for slot {slot}")
    high = (1 + isqrt(8 * slot + 1)) // 2
    low = slot - high * (high - 1) // 2
    return f"s0:c{low},c{high}"


def mode(root: str = "") -> str:
    """`enforcing`, `permissive`, or empty where it is off."""
    try:
        with open(f"{root}{MOUNT}/enforce", encoding="ascii") as file:
            return "enforcing" if file.read().strip() == "1" else "permissive"
    except OSError:
        return ""


def file_context(level: str, root: str = "") -> str:
    """What files of a container of that level are labelled with; the type is the policy's (lxc_contexts(5))."""
    context = CONTEXT
    kind = _assigned(f"{root}{SETTINGS}/config", "SELINUXTYPE") or "targeted"
    said = _assigned(f"{root}{SETTINGS}/{kind}/contexts/lxc_contexts", "file")
    if said.count(":") >= 2:
        context = said
    return ":".join([*context.split(":")[:3], level])


def context_of(process: str) -> str:
    """What files are labelled with that a program of that context makes (`…:container_t:s0:c3,c7`); empty where it
    has no pair of its own.
    """
    level = process.strip("\0\n ").split(":", 3)[-1]
    return file_context(level) if _PAIR.fullmatch(level) else ""


def make_files_as(context: str) -> None:
    """What this thread makes from now on is labelled so, wherever the file system has labels. Raises OSError."""
    with open("/proc/thread-self/attr/fscreate", "w", encoding="ascii") as file:
        file.write(context)


def type_of(path: str) -> str:
    """The type of a file, such as `etc_t`; empty where it has no label."""
    try:
        return os.getxattr(path, _ATTRIBUTE).decode(errors="replace").strip("\0").split(":")[2]
    except (OSError, IndexError):
        return ""


def label(top: str, context: str) -> None:
    """Label a folder and all below it, unless it has that label: it gets it last, so a walk that was cut short is
    done again. Links are not followed, whatever takes a folder's place meanwhile.
    """
    wanted = context.encode()
    try:
        if os.getxattr(top, _ATTRIBUTE, follow_symlinks=False).rstrip(b"\0") == wanted:
            return
    except OSError:
        pass
    for _, folders, files, fd in os.fwalk(top, follow_symlinks=False):
        for name in (*folders, *files):
            os.setxattr(f"/proc/self/fd/{fd}/{name}", _ATTRIBUTE, wanted, follow_symlinks=False)
    os.setxattr(top, _ATTRIBUTE, wanted, follow_symlinks=False)


def _assigned(path: str, name: str) -> str:
    """What stands behind `name =` in a file of such lines."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition("=")
                if key.strip() == name:
                    return value.strip().strip('"')
    except OSError:
        pass
    return ""
