"""Files of a container, from inside its namespaces and with no more rights than it has.

    within.py PID START look PATH            what is there, as JSON
    within.py PID START out PATH NAME        as a tar, to stdout
    within.py PID START in FOLDER            a tar, from stdin

PID is a process of the container's, which began at START (proc_pid_stat(5), field 22). What is written belongs to
that process' user. Standard library only. A failure is one line of JSON on stderr, and status 1; lines before it
are remarks.

Once inside, nothing of this program's own may be looked for in files any more, since those are the container's: no
module is imported, no name of a user looked up (libc would load a library for that; CVE-2019-14271 was of this
kind). Its process cannot be seen from in there, since it keeps the host's process ids.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import tarfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

from geard.containers import selinux
from geard.copying.archive import Owner, Refused, kind_of, own_files, pack, refusal, unpack

_NO_NEW_PRIVILEGES = 38
_CAPABILITIES = 0b11011  # CHOWN, DAC_OVERRIDE, FOWNER, FSETID: capabilities(7)
_CAPABILITY_VERSION = 0x20080522
_MEMORY = 1 << 30  # of addresses; a tar's own headers may claim any size
_libc = ctypes.CDLL(None, use_errno=True)


def main(argv: list[str]) -> int:
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, _end)
    pid, start, what, path, *more = argv
    try:
        try:
            files = own_files()
            owner = _enter(int(pid), start)
        except (FileNotFoundError, ProcessLookupError):
            raise Refused("PreconditionFailed", "it has ended") from None
        _do(what, path, owner, files, *more)
    except Refused as refused:
        return _fail(refused.kind, refused.message, refused.hint)
    except OSError as error:
        return _fail("Unavailable", f"{path}: {error.strerror or error}")
    except RecursionError:
        return _fail("Invalid", f"{path}: folders are nested too deep")
    except KeyboardInterrupt:
        return 143
    except Exception as error:  # noqa: BLE001 - a trace would look for this file, in there
        return _fail("Bug", f"copying met a bug of geard's own: {type(error).__name__}: {error}")
    return 0


def _end(number: int, frame: object) -> None:
    """What is half written goes; a second signal must not stop that."""
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
    raise KeyboardInterrupt


def _do(what: str, path: str, owner: Owner, files: int, name: str = "") -> None:
    match what:
        case "look":
            print(json.dumps(_look(path)))
        case "out":
            pack(path, name, sys.stdout.buffer, _say)
        case "in":
            unpack(sys.stdin.buffer, path, _say, owner=owner, files=files)
        case _:
            raise Refused("Bug", f"{what} is nothing that can be done")


def _look(path: str) -> dict[str, Any]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise refusal(error, path) from None
    return {
        "Kind": kind_of(found.st_mode),
        "Size": found.st_size,
        "Mode": f"{found.st_mode & 0o7777:04o}",
        "Modified": int(found.st_mtime),
    }


def _enter(pid: int, start: str) -> Owner:
    """Whose files are written. Raises OSError."""
    spaces = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("user", "mnt")]
    if start_of(pid) != start:
        raise ProcessLookupError
    _label_as(pid)
    for name in ("pwd", "grp"):  # it would look up names
        tarfile.__dict__[name] = None
    if not os.path.sameopenfile(spaces[0], os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)):
        _setns(spaces[0])
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    facts = _facts(pid)  # as that user namespace sees them
    sys.path.clear()
    sys.meta_path.clear()
    _setns(spaces[1])  # its root is from here on that of the container
    _give_up_rights(int(facts["CapBnd"], 16))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    os.umask(0)
    return Owner(*(int(facts[name].split()[3]) for name in ("Uid", "Gid")))


def _label_as(pid: int) -> None:
    """SELinux: what is written has the container's pair of categories, as if its own programs had made it."""
    if not selinux.mode():
        return
    with open(f"/proc/{pid}/attr/current", encoding="utf-8", errors="replace") as file:
        context = selinux.context_of(file.read())
    if context:
        try:
            selinux.make_files_as(context)
        except OSError as error:
            raise Refused("Unavailable", f"SELinux lets nobody write as {context}: {error.strerror}") from None


def start_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[19]


def _facts(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def _setns(fd: int) -> None:
    if _libc.setns(fd, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.close(fd)


def _give_up_rights(bound: int) -> None:
    """All but those by which a container's root owns its files."""
    low = _CAPABILITIES & bound
    head = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)(low, low, 0, 0, 0, 0)
    if _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or _libc.capset(head, sets):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _say(text: str) -> None:
    print("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text), file=sys.stderr)


def _fail(kind: str, message: str, hint: str = "") -> int:
    print(json.dumps({"Kind": kind, "Message": message, "Hint": hint}), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
