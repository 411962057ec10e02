#!/usr/bin/python3 -IS
"""Have one idle gear start, or go on, and say when it listens. Run by geard-wake@.service, for the waker.

    ID PORT SOURCE              on standard input: the gear, the host's port that somebody asked for, and who
    ready | refused: …          on standard output

A gear that does not carry the flag of idling (containers/asleep.py) is left alone. While it is under way the file
below /run/geard/idle stays: whoever comes meanwhile is held too, by another waker perhaps.
Somebody waits for this: it imports next to nothing.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import sys
import time

UNITS = "/var/lib/containers/units"
WANTS = "/var/lib/containers/targets/container-active.target.wants"
RUN = "/run/geard"
JOURNAL = "/run/systemd/journal/socket"
OURS = "57c8d5b1ac4d4d1c8e4b7a6f0f3f9d21"  # as in geard/events/entries.py
LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
PATIENCE = 60.0  # seconds for a program that was started to listen


def main() -> int:
    id, port, source = (*os.read(0, 300).decode("ascii", "replace").split(), "", "", "")[:3]
    if not _is_id(id) or not port.isdigit() or len(port) > 5 or not set(source) <= set("0123456789abcdef.:"):
        return _answer("refused: no such words")
    reason = wake(id, port, source)
    _answer(f"refused: {reason}" if reason else "ready")
    if not reason:
        # Who is told that it is ready lets go; then nobody needs to be held any more.
        _remove(f"{RUN}/idle/ctr-{id}")
    else:
        sys.stderr.write(f"{id} cannot be woken: {reason}\n")
    return 0


def wake(id: str, port: str, source: str) -> str:
    """Empty where it listens now; else why not."""
    name, state = f"ctr-{id}", f"{RUN}/gears/ctr-{id}"
    inside = _port_inside(f"{RUN}/idle/{name}", port)
    if inside is None:
        return "it is not idle"
    if _take_flag(id):
        _note(id, "asked", source, port, job="start")
        _note(id, "woken", source, port)
    elif not os.path.islink(f"{WANTS}/{name}.service"):
        _remove(f"{RUN}/idle/{name}")
        return "it is not idle"
    if _thaw(f"{state}/frozen") and _wait_for(state, inside):
        return ""
    _remove(f"{state}/failure")
    began = time.time()
    status = _run(["/usr/bin/systemctl", "--quiet", "start", f"{name}.service"])
    if status == 0 and _wait_for(state, inside):
        return ""
    _remove(f"{RUN}/idle/{name}")  # no more is held for it: it is systemd's to try again
    return _why(state, began)


def _take_flag(id: str) -> bool:
    """Whether it was idle, and is to run from now on. A stop at this moment comes before or after."""
    flag, unit = f"{UNITS}/{id[:2]}/ctr-{id}.idle", f"{UNITS}/{id[:2]}/ctr-{id}.service"
    try:
        fd = os.open(flag, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        if os.stat(flag).st_ino != os.fstat(fd).st_ino or not os.path.exists(unit):
            return False
        try:
            os.symlink(unit, f"{WANTS}/ctr-{id}.service")
        except FileExistsError:
            pass
        os.unlink(flag)
    except FileNotFoundError:
        return False
    finally:
        os.close(fd)
    return True


def _wait_for(state: str, port: int) -> bool:
    """Whether the gear's program listens on that port of its own, sooner or later."""
    end = time.monotonic() + PATIENCE
    pause = 0.001
    while time.monotonic() < end:
        pid = _read(f"{state}/pid").strip()
        there = _listens(pid, port) if pid.isdigit() else None
        if there is None:
            return False  # it has ended
        if there:
            return True
        time.sleep(pause)
        pause = min(pause * 1.2, 0.05)
    return False


def _listens(pid: str, port: int) -> bool | None:
    """By the sockets of its network (proc_net(5)), without a connection that it would see; None: it is gone."""
    wanted = f":{port:04X}"
    found = None
    for table in ("tcp", "tcp6"):
        text = _read(f"/proc/{pid}/net/{table}")
        if text:
            found = found or False
        for line in text.splitlines()[1:]:
            words = line.split(None, 4)
            if words[3] == "0A" and words[1].endswith(wanted):
                return True
    return found


def _port_inside(path: str, external: str) -> int | None:
    for line in _read(path).splitlines():
        words = line.split(" ")
        if words[:2] == ["tcp", external]:
            return int(words[2])
    return None


def _thaw(noted: str) -> bool:
    """Whether it was frozen, and goes on."""
    path, _, word = _read(noted).strip().rpartition(" ")
    if not path:
        return False
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(word)
    except OSError:
        return False
    _remove(noted)
    return True


def _why(state: str, began: float) -> str:
    told = " ".join(_read(f"{state}/failure").split())
    if told:
        return told
    ended = dict(word.split("=", 1) for word in _read(f"{state}/ended").split() if "=" in word)
    if float(ended.get("at", "0")) < began:
        return "it does not listen there"
    return f"its program ended with status {ended.get('status', '')}"


def _note(id: str, kind: str, source: str, port: str, job: str = "") -> None:
    """For events, by the journal's native protocol."""
    by = f"a connection from {source} to port {port}"
    fields = {
        "MESSAGE": f"{id} {kind}: by {by}",
        "MESSAGE_ID": OURS,
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "gear",
        "GEARD_EVENT": kind,
        "GEARD_GEAR": id,
        "GEARD_TEXT": f"by {by}",
        "GEARD_ASKER": by,
        "GEARD_JOB": job,
    }
    # not by `socket`, whose import takes 6 ms
    writer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK)
    try:
        writer.sendto("".join(f"{name}={value}\n" for name, value in fields.items() if value).encode(), JOURNAL)
    except OSError as error:
        sys.stderr.write(f"the journal does not take that {id} is woken: {error}\n")
    writer.close()


def _is_id(text: str) -> bool:
    return 2 <= len(text) <= 64 and set(text) <= LETTERS and text[0].isalnum() and ".." not in text


def _answer(text: str) -> int:
    try:
        os.write(1, f"{text}\n".encode())
    except OSError:
        pass  # the waker has gone; another finds what is held by the file
    return 0


def _run(argv: list[str]) -> int:
    child = os.posix_spawn(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
