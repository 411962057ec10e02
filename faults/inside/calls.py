"""A process that is stopped at every call by which it changes something, before the call is made.

The kernel does it (seccomp_unotify(2)): whoever makes one of the calls below waits until we have said whether it
is to be made, to fail with an error of our choice, or to be the process's last moment. So a call is counted over
all threads, in the order in which they are made, which strace's `when=` cannot do: that counts each thread's own.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import re
import select
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# name: (number on x86_64, on aarch64, which argument is the path, which the folder it is in, the argument and the
# test by which only some are looked at)
O_CREAT = 0x40
_OPENS = (2, "any of", O_CREAT)
_SAYS = (2, "more than", 1)  # asyncio wakes its own loop with one byte


@dataclass(frozen=True)
class Call:
    name: str
    numbers: tuple[int, int]
    """on x86_64 and on aarch64; -1 where it has none"""
    path: int = -1
    """the argument that is the path, or -1"""
    descriptor: int = -1
    """the argument that is the file, or the folder the path is in; -1: none"""
    only: tuple[int, str, int] | None = None


CALLS = (
    Call("write", (1, 64), descriptor=0),
    Call("pwrite64", (18, 68), descriptor=0),
    Call("sendto", (44, 206), only=_SAYS),
    Call("fsync", (74, 82), descriptor=0),
    Call("fdatasync", (75, 83), descriptor=0),
    Call("ftruncate", (77, 46), descriptor=0),
    Call("rename", (82, -1), path=1),
    Call("mkdir", (83, -1), path=0),
    Call("rmdir", (84, -1), path=0),
    Call("link", (86, -1), path=1),
    Call("unlink", (87, -1), path=0),
    Call("symlink", (88, -1), path=1),
    Call("chmod", (90, -1), path=0),
    Call("fchmod", (91, 52), descriptor=0),
    Call("fchown", (93, 55), descriptor=0),
    Call("openat", (257, 56), path=1, descriptor=0, only=_OPENS),
    Call("open", (2, -1), path=0, only=(1, "any of", O_CREAT)),
    Call("mkdirat", (258, 34), path=1, descriptor=0),
    Call("unlinkat", (263, 35), path=1, descriptor=0),
    Call("renameat", (264, 38), path=3, descriptor=2),
    Call("linkat", (265, 37), path=3, descriptor=2),
    Call("symlinkat", (266, 36), path=2, descriptor=1),
    Call("fchmodat", (268, 53), path=1, descriptor=0),
    Call("renameat2", (316, 276), path=3, descriptor=2),
)
_MACHINES = {"x86_64": (0, 317), "aarch64": (1, 277)}  # and the number of seccomp(2)
_COLUMN, _SECCOMP = _MACHINES.get(platform.machine(), (0, -1))
BY_NUMBER = {call.numbers[_COLUMN]: call for call in CALLS if call.numbers[_COLUMN] >= 0}

_libc = ctypes.CDLL(None, use_errno=True)

MAKES_SPACE_NEEDED = frozenset(
    "write pwrite64 rename mkdir link symlink openat open mkdirat renameat linkat symlinkat renameat2".split()
)
"""the calls that fail where a disk is full"""


# --- the filter: classic BPF, one block a call (seccomp(2))

_LD, _JEQ, _JGT, _JSET, _RET = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000


def program() -> bytes:
    """Ask about the calls above; let every other pass."""
    blocks: list[tuple[int, int, int, int]] = [(_LD, 0, 0, 0)]  # the number stands first in seccomp_data
    for number, call in BY_NUMBER.items():
        if call.only is None:
            blocks += [(_JEQ, 0, 1, number), (_RET, 0, 0, _ASK)]
        else:
            argument, test, value = call.only
            jump = _JSET if test == "any of" else _JGT
            blocks += [
                (_JEQ, 0, 4, number),
                (_LD, 0, 0, 16 + 8 * argument),
                (jump, 0, 1, value),
                (_RET, 0, 0, _ASK),
                (_RET, 0, 0, _ALLOW),
            ]
    blocks.append((_RET, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", code, yes, no, value) for code, yes, no, value in blocks)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def ask_about_calls() -> int:
    """From here on this process waits at each of the calls, until who holds the listener lets it go on."""
    text = program()
    fprog = _Program(len(text) // 8, text)
    new_listener, wait_killable = 8, 32
    found = _libc.syscall(_SECCOMP, 1, new_listener | wait_killable, ctypes.byref(fprog))
    if found < 0:
        os._exit(99)
    return int(found)


# --- our side

_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_GO_ON = 1
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")


@dataclass(frozen=True)
class Stop:
    """A call that is about to be made."""

    call: str
    what: str
    """the path, or what is said"""

    def __str__(self) -> str:
        return f"{self.call} {self.what}"


Verdict = Callable[[Stop], int]
"""0: it is made; an errno: it fails so; KILL: the process is killed instead"""
KILL = -1


class Watched:
    """A process made by `fork`, stopped at its calls. `verdict` is asked about those that count."""

    def __init__(self, program: Callable[[], None], counts: Callable[[Stop], bool], verdict: Verdict) -> None:
        self._counts, self._verdict = counts, verdict
        self.killed = False
        self.status: int | None = None
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.pid = os.fork()
            if self.pid == 0:
                try:
                    ours.close()
                    listener = ask_about_calls()
                    socket.send_fds(theirs, [b"."], [listener])  # by sendmsg(2), which passes
                    os.close(listener)
                    theirs.close()
                    program()
                finally:
                    os._exit(98)
            theirs.close()
            _, found, _, _ = socket.recv_fds(ours, 1, 1)
        self._pidfd = os.pidfd_open(self.pid)
        if not found:
            raise RuntimeError(f"this kernel lets nobody watch calls: {os.waitpid(self.pid, 0)}")
        self._listener = found[0]

    def step(self, seconds: float) -> bool:
        """See to what is waiting; False once the process has ended. Returns after so many seconds at most."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.register(self._listener, select.POLLIN)
        for fd, event in poll.poll(seconds * 1000):
            if fd == self._listener and event & select.POLLIN:
                self._see()
            elif fd == self._pidfd:
                self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
                os.close(self._pidfd)
                os.close(self._listener)
                return False
        return True

    def kill(self) -> None:
        self.killed = True
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> int:
        """Watch it to its end; its exit status, negative for a signal."""
        while self.status is None:
            self.step(1)
        return self.status

    def _see(self) -> None:
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, buffer)
        except OSError:
            return  # it has been killed meanwhile
        id, thread, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer)
        error = 0
        if not self.killed and _process_of(thread) == self.pid:
            stop = _stop(thread, BY_NUMBER[number], arguments)
            if stop is not None and self._counts(stop):
                error = self._verdict(stop)
        if error == KILL:
            self.kill()
            return
        answer = _RESPONSE.pack(id, 0, -error, 0 if error else _GO_ON)
        try:
            fcntl.ioctl(self._listener, _SEND, answer)
        except OSError:
            return


def _process_of(thread: int) -> int:
    try:
        with open(f"/proc/{thread}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Tgid:"))
    except (OSError, StopIteration):
        return -1


def _stop(thread: int, call: Call, arguments: Sequence[int]) -> Stop | None:
    try:
        if call.name == "sendto":
            return Stop(call.name, _said(_memory(thread, arguments[1], min(arguments[2], 4096))))
        path = ""
        if call.path >= 0:
            path = _memory(thread, arguments[call.path], 4096).partition(b"\0")[0].decode(errors="replace")
        if call.descriptor >= 0 and not path.startswith("/"):
            number = ctypes.c_int(arguments[call.descriptor] & 0xFFFFFFFF).value
            place = f"/proc/{thread}/cwd" if number == -100 else f"/proc/{thread}/fd/{number}"
            folder = os.readlink(place)
            path = f"{folder}/{path}" if path else folder
        return Stop(call.name, path)
    except OSError:
        return None


def _memory(thread: int, address: int, length: int) -> bytes:
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as file:
        found = b""
        while len(found) < length:  # a page at a time: the next may not be there
            size = min(length - len(found), 4096 - (address + len(found)) % 4096)
            file.seek(address + len(found))
            try:
                found += file.read(size)
            except OSError:
                break
            if b"\0" in found[-size:] and length == 4096:
                break
        return found


_MEMBERS = re.compile(rb"\b(StartUnit|StopUnit|RestartUnit|ResetFailedUnit|Reload|KillUnit)\b")


def _said(text: bytes) -> str:
    member = _MEMBERS.search(text)
    if member:
        return f"systemd {member[1].decode()}"
    return "an answer" if text.startswith((b"HTTP/", b"{")) else "something"
