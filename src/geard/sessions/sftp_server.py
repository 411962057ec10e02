"""The host's sftp-server, for a gear whose image has none: what it needs, and how it is started in there.

Its files are lent to the gear as open files, and found by their descriptors: nothing of the image is needed, and
nothing is written into the gear.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Sequence

FIRST = 3
"""the descriptor of the first file that is lent"""
SERVERS = (
    *("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"),
    *("/usr/libexec/sftp-server", "/usr/lib/sftp-server"),
)
"""where distributions have it"""
UNSET = ("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT")
"""variables by which an image has its own programs load more: of another libc, it may be"""
_INTERPRETER = 3  # PT_INTERP, elf(5)


def needed(servers: Sequence[str] = SERVERS) -> tuple[str, ...]:
    """The loader, the program, and the libraries that it loads; empty where this host has no such program."""
    for server in servers:
        if os.access(server, os.X_OK) and (loader := loader_of(server)):
            return (loader, server, *_libraries(loader, server))
    return ()


def command(count: int) -> tuple[str, ...]:
    """The words that start it, of so many files."""
    loader, program, *libraries = (f"/proc/self/fd/{FIRST + number}" for number in range(count))
    return (loader, "--inhibit-cache", "--preload", ":".join(libraries), program)


def loader_of(program: str) -> str:
    """What the kernel would have load it; empty where that is no dynamic program of 64 bits."""
    with open(program, "rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
            return ""
        offset, size, count = (*struct.unpack_from("<Q", head, 32), *struct.unpack_from("<HH", head, 54))
        for number in range(count):
            file.seek(offset + number * size)
            kind, _, at, _, _, length = struct.unpack("<IIQQQQ", file.read(40))
            if kind == _INTERPRETER:
                file.seek(at)
                return file.read(length).rstrip(b"\0").decode()
    return ""


def _libraries(loader: str, program: str) -> list[str]:
    """As the loader itself says."""
    listed = subprocess.run(
        [loader, "--list", program], env={}, capture_output=True, text=True, check=False
    ).stdout
    found = [line.partition(" => ")[2].split()[0] for line in listed.splitlines() if " => /" in line]
    return [path for path in found if not os.path.samefile(path, loader)]
