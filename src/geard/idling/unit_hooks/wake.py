#!/usr/bin/python3 -IS
"""Have idle gears start, or go on, and say when each listens. Run by geard-wake.service, for the waker, who asks
at the socket that systemd hands over, by one connection for each wake:

    ID PORT SOURCE SINCE THAWED   the gear, the host's port that somebody asked for (4100, 53/udp), and who; when
                                  the packet came, when the waker had it go on by itself (ns of the monotonic
                                  clock; 0: it did not)
    go N                          it listens, and takes N of those that wait; answered by how many then still wait
    ready | refused: …            the last word: none waits any more, or why all are to be refused

A gear that does not carry the flag of idling (containers/asleep.py) is left alone. While it is under way the file
below /run/geard/idle stays: whoever comes meanwhile is held too, by another waker perhaps.
Somebody waits for this: it is there before it is asked, and a fork does each wake.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import time

UNITS = "/var/lib/containers/units"
WANTS = "/var/lib/containers/targets/container-active.target.wants"
RUN = "/run/geard"
JOURNAL = "/run/systemd/journal/socket"
OURS = "57c8d5b1ac4d4d1c8e4b7a6f0f3f9d21"  # as in geard/events/entries.py
LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
PATIENCE = 60.0  # seconds for a program that was started to listen
BEGINNING = 20.0  # … for podman to have one begin whose container is ready
AHEAD = 5  # connections that wait for a program to take them; servers have the kernel keep 5 or more
PACED = 20.0  # seconds, for one that takes none
MOST = 64  # wakes at a time; the waker asks for few
HANDED_OVER = 3  # the socket (sd_listen_fds(3))


def main() -> int:
    door = socket.socket(fileno=HANDED_OVER)
    children: set[int] = set()
    while True:
        line = door.accept()[0]
        while children:
            ended = os.waitpid(-1, 0 if len(children) >= MOST else os.WNOHANG)[0]
            if not ended:
                break
            children.discard(ended)
        child = os.fork()
        if not child:
            try:
                line.settimeout(5)
                answer(line)
            finally:
                os._exit(0)
        children.add(child)
        line.close()


def answer(line: socket.socket) -> None:
    """One wake: its words read from a connection, its answer written there."""
    begun = time.monotonic_ns()
    words = line.recv(300).decode("ascii", "replace").split()
    id, port, source, since, thawed = (*words, *("", "", "", "0", "0")[len(words) :])[:5]
    known = _is_id(id) and set(source) <= set("0123456789abcdef.:")
    if not known or not all(map(_is_number, (port.removesuffix("/udp"), since, thawed), (5, 20, 20))):
        _say(line, "refused: no such words")
        return
    reason = wake(id, port, source)
    if reason:
        _say(line, f"refused: {reason}")
        sys.stderr.write(f"{id} cannot be woken: {reason}\n")
        return
    listens, state = time.monotonic_ns(), f"{RUN}/gears/ctr-{id}"
    protocol, inside = _port_inside(f"{RUN}/idle/ctr-{id}", port) or ("", 0)
    if protocol == "tcp":
        _pace(line, state, inside)
    _say(line, "ready")
    # Who is told that it is ready has let go; then nobody needs to be held any more.
    _remove(f"{RUN}/idle/ctr-{id}")
    _record(state, port.removesuffix("/udp"), int(since) or begun, begun, int(thawed), listens)


def _pace(line: socket.socket, state: str, port: int) -> None:
    """Have a crowd go on as fast as the program takes it: where its queue is full the kernel drops what the client
    has for a connection already, and that client waits long.
    """
    end = time.monotonic() + PACED
    while time.monotonic() < end:
        room = AHEAD - _queued(_read(f"{state}/pid").strip(), port)
        if room > 0:
            try:
                line.sendall(f"go {room}\n".encode())
                if line.recv(20).strip() in (b"", b"0"):
                    return
            except OSError:
                return  # the waker has gone
        time.sleep(0.001)


def _queued(pid: str, port: int) -> int:
    """Connections to it that the program has yet to take, and those on their way into that queue (proc_net(5))."""
    wanted, count = f":{port:04X}", 0
    for table in ("tcp", "tcp6"):
        for line in _read(f"/proc/{pid}/net/{table}").splitlines()[1:]:
            words = line.split(None, 5)
            if words[1].endswith(wanted) and words[3] in ("03", "0A"):
                count += int(words[4].partition(":")[2], 16) if words[3] == "0A" else 1
    return count


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
    goes_on = _begin(name, state) or _thaw(f"{state}/frozen")
    if goes_on and _wait_for(state, inside):
        return ""
    if not os.path.islink(f"{WANTS}/{name}.service"):
        return "it was told to stop"
    if goes_on and _listens(_read(f"{state}/pid").strip(), inside) is False:  # it runs, and has had its time
        _remove(f"{RUN}/idle/{name}")
        return "it does not listen there"
    _remove(f"{state}/failure")
    ended, before = _read(f"{state}/ended"), _read(f"{state}/pid")
    early = "when ready" not in _read(f"{RUN}/idle/{name}").splitlines()
    verb = "restart" if _beginning(state) else "start"
    start = _spawn(["/usr/bin/systemctl", "--quiet", verb, f"{name}.service"])
    if _wait_for(state, inside, before, start, early):
        return ""
    _remove(f"{RUN}/idle/{name}")  # no more is held for it: it is systemd's to try again
    return _why(state, ended)


def _begin(name: str, state: str) -> bool:
    """Whether a container was kept ready (containers/asleep.py) and its program has begun now. Not where a file
    that it was made from is another by now, or where the engine fails.
    """
    noted = _beginning(state)
    if not noted or not _is_current(noted):
        return False
    try:
        os.rename(noted, f"{state}/beginning")  # how it ends counts from here on (gear-record)
    except FileNotFoundError:
        return False  # who came by another of its ports was first
    environment = {**os.environ, "CONTAINERS_CONF_OVERRIDE": "/usr/lib/geard/podman.conf"}
    child = _spawn(["/usr/bin/podman", "--events-backend=none", "start", name], environment)
    if _status(child, BEGINNING):
        sys.stderr.write(f"{name} was kept ready and cannot begin; it is started anew\n")
        return False
    try:
        os.rename(f"{state}/beginning", f"{state}/begun")
        os.utime(f"{state}/begun")
    except FileNotFoundError:
        pass  # as above; or it has ended
    return True


def _is_current(noted: str) -> bool:
    """Whether what a container was made from is still there."""
    rows = (line.rpartition(" ") for line in _read(noted).splitlines())
    return all(_stamp(path) == stamp for path, _, stamp in rows)


def _beginning(state: str) -> str:
    """What is noted of a container that is made and no more; `beginning` where a wake before this was killed."""
    return next((path for path in (f"{state}/ready", f"{state}/beginning") if os.path.exists(path)), "")


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


def _wait_for(state: str, port: tuple[str, int], before: str = "", start: int = 0, early: bool = True) -> bool:
    """Whether the gear's program listens on that port of its own, sooner or later.

    With `start`, the process that has it start: the program may listen before systemd calls it started, which is
    taken for a yes where it may be `early`; and what was there `before` is not the one.
    """
    begun = time.monotonic()
    end = begun + PATIENCE
    while start or time.monotonic() < end:
        if start:
            ended, status = os.waitpid(start, os.WNOHANG)
            if ended and status:
                return False
            if ended:
                start, end = 0, time.monotonic() + PATIENCE
        pid = _read(f"{state}/pid")
        if not start or (early and pid != before):
            there = _listens(pid.strip(), port)
            if there:
                return True
            if there is None and not start:
                return False  # it has ended
        # At first each millisecond, then by a two-hundredth of what it took: each 5 ms after a second.
        time.sleep(min(max(0.001, (time.monotonic() - begun) / 200), 0.05))
    return False


def _listens(pid: str, port: tuple[str, int]) -> bool | None:
    """By the sockets of its network (proc_net(5)), without a connection that it would see; None: it is gone."""
    if not pid.isdigit():
        return None
    protocol, number = port
    wanted, how = f":{number:04X}", "0A" if protocol == "tcp" else "07"  # LISTEN; CLOSE, as all of datagrams are
    found = None
    for table in (protocol, f"{protocol}6"):
        text = _read(f"/proc/{pid}/net/{table}")
        if text:
            found = found or False
        for line in text.splitlines()[1:]:
            words = line.split(None, 4)
            if words[3] == how and words[1].endswith(wanted):
                return True
    return found


def _port_inside(path: str, external: str) -> tuple[str, int] | None:
    number, _, protocol = external.partition("/")
    for line in _read(path).splitlines():
        words = line.split(" ")
        if words[:2] == [protocol or "tcp", number]:
            return words[0], int(words[2])
    return None


def _thaw(noted: str) -> bool:
    """Whether it was frozen, and goes on."""
    path, _, word = _read(noted).strip().rpartition(" ")
    if not path:
        return False
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(word)
        os.chown(path, 0, 0)  # the waker's no more
    except OSError:
        return False
    _remove(noted)
    return True


def _record(state: str, port: str, since: int, begun: int, thawed: int, listens: int) -> None:
    """For `gear wake-time`: milliseconds from the packet to each step. What others did is known by their files."""
    steps = {"thawed": thawed} if thawed else {"asked": begun}
    wall = time.time_ns() - time.monotonic_ns()  # what the files' clock says more
    for step, name in (("prepared", "version"), ("created", "cid"), ("running", "pid"), ("begun", "begun")):
        try:
            steps[step] = os.stat(f"{state}/{name}").st_mtime_ns - wall
        except FileNotFoundError:
            pass
    steps["listens"] = thawed or listens
    told = " ".join(f"{step}={(at - since) / 1e6:.1f}" for step, at in steps.items() if since <= at <= listens)
    try:
        with open(f"{state}/woken", "w", encoding="ascii") as file:
            file.write(f"at={time.time() - (time.monotonic_ns() - since) / 1e9:.3f} port={port} {told}\n")
    except OSError:
        pass  # it has gone meanwhile


def _why(state: str, before: str) -> str:
    """By what is written down since; `before`: how the run before this one ended. Clocks may jump."""
    told, ended = " ".join(_read(f"{state}/failure").split()), _read(f"{state}/ended")
    if told:
        return told
    if ended == before:
        return "it does not listen there"
    words = dict(word.split("=", 1) for word in ended.split() if "=" in word)
    return f"its program ended with status {words.get('status', '')}"


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
    writer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        writer.sendto("".join(f"{name}={value}\n" for name, value in fields.items() if value).encode(), JOURNAL)
    except OSError as error:
        sys.stderr.write(f"the journal does not take that {id} is woken: {error}\n")
    writer.close()


def _is_id(text: str) -> bool:
    return 2 <= len(text) <= 64 and set(text) <= LETTERS and text[0].isalnum() and ".." not in text


def _is_number(text: str, most: int) -> bool:
    return text.isdigit() and text.isascii() and len(text) <= most


def _say(line: socket.socket, text: str) -> None:
    try:
        line.sendall(f"{text}\n".encode())
    except OSError:
        pass  # the waker has gone; another finds what is held by the file


def _spawn(argv: list[str], environment: dict[str, str] | None = None) -> int:
    files = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    return os.posix_spawn(argv[0], argv, environment or os.environ, file_actions=files)


def _status(child: int, seconds: float) -> int:
    """How it has ended; it is killed where that takes longer."""
    end = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.001)


def _stamp(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return "-"
    return f"{status.st_ino}:{status.st_ctime_ns}"


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
