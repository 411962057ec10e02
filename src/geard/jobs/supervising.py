"""The main process of a job's unit: it runs the engine, keeps what the program writes, and says how it ended.

It is told what to do by `order` in the job's folder below /run. Who wants to follow connects to `attach` beside
it, and reads what is kept from the files (output.py); over the line go input, signals, and that there is news:

    to here     h JSON   {"Driver": true}: nothing is written faster than this one reads
                p place  so far it has read; i e w k as in frames.py
    from here   n place  there is more, up to there; t count of input bytes taken; x it has ended: read `result`

Podman leaves the program with a conmon, which becomes our child, being its nearest subreaper; its status is the
program's. Where the engine's client stays (a terminal, Docker) the client's status is. Standard library only.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import selectors
import signal
import socket
import struct
import sys
import termios
import time
import tty
from collections import deque

from geard.jobs.hooking import RUN, Facts, image_is_here, note, notify, output, read_json, write
from geard.jobs.output import ERRORS, OUTPUT, PIECE, Kept
from geard.jobs.usage import out_of_memory, usage

FRAME = struct.Struct(">BI")
PLACE = struct.Struct(">Q")
COUNT = struct.Struct(">I")
SIZE = struct.Struct(">HH")
AHEAD = 1024 * 1024
"""bytes of output that a program may be ahead of who drives it, at most"""
FRAME_LIMIT = 64 * 1024
CLIENTS = 64
SIGNALS = ("INT", "QUIT", "TERM", "USR1", "USR2", "HUP")
ENDING = ("INT", "QUIT", "TERM")
OWN_FAILURE = 125
KILLED = 137
HOST_READY = "/run/geard/host-ready"
LOOK_SECONDS = 2.0
LINGER_SECONDS = 10.0
EXITS = "/run/libpod/exits"
"""where podman has conmon write how containers ended"""
ASK_SECONDS = 2.0
ASK_PAUSE = 0.003
_SET_CHILD_SUBREAPER = 36
_ENTRIES = 200_000


class _Client:
    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.heard = bytearray()
        self.out = bytearray()
        self.driver = False
        self.place = 0
        self.told = -1


def main(id: str) -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    state = f"{RUN}/{id}"
    order = read_json(f"{state}/order")
    if order is None:
        print(f"there is no order for job {id}: the machine was started anew since it was asked for")
        return OWN_FAILURE
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)
    return _Job(order, state).run()


class _Job:
    def __init__(self, order: Facts, state: str) -> None:
        self.order, self.state = order, state
        self.kept = Kept(order["Folder"], order["Keep"])
        self.ahead = min(AHEAD, self.kept.tail // 2)
        self.selector = selectors.DefaultSelector()
        self.clients: list[_Client] = []
        self.ended_children: dict[int, int] = {}
        self.outputs: dict[int, int] = {}
        """descriptors the program writes to -> kind of record"""
        self.paused = False
        self.input = -1
        self.input_parts: deque[bytes] = deque()
        self.input_from: deque[tuple[_Client, int]] = deque()
        self.input_over = False
        self.terminal = False
        self.pulling = self.engine = self.main = 0
        """process ids: a pull, the engine's client, whose status is the program's"""
        self.handle = -1
        """of the program itself (pidfd), where its engine tells which it is"""
        self.begun = time.time()
        self.started = 0.0
        self.kill_at = self.limit_at = self.look_at = self.ask_until = 0.0
        self.told_to_end = False
        self.early: list[str] = []
        """signals that came before the engine said which process to tell"""
        self.reason = self.message = ""
        self.status: int | None = None

    # --- its life

    def run(self) -> int:
        wake = self._signals()
        self._phase("starting")
        listener = self._listen()
        if not os.path.exists(HOST_READY):
            self._end(OWN_FAILURE, "not started", "the rules that keep gears apart are not in force on this host")
        elif image_is_here(self.order):
            self._start()
        else:
            self._pull()
        while self.status is None:
            for key, events in self.selector.select(self._patience()):
                if key.fileobj is wake:
                    self._heed(wake)
                elif key.fileobj is listener:
                    self._accept(listener)
                elif isinstance(key.data, _Client):
                    self._converse(key.data, events)
                elif key.fd in self.outputs:
                    self._read(key.fd)
                elif key.fd == self.input:
                    self._write_input()
                elif key.fd == self.handle:
                    self.selector.unregister(self.handle)
                    self.ask_until = time.monotonic() + ASK_SECONDS
            self._look_at_the_clock()
        self._let_others_end()
        return self.status

    def _pull(self) -> None:
        self._phase("pulling")
        argv = ["/usr/bin/gear", "pull", "--engine", self.order["Engine"], self.order["Image"]]
        reader, writer = os.pipe()
        self.pulling = self._spawn(argv, (0, writer, writer))
        os.close(writer)
        self._watch(reader, ERRORS)

    def _start(self) -> None:
        self._phase("starting")
        order = self.order
        if order["Tty"]:
            ours, theirs = os.openpty()
            tty.setraw(theirs)  # what is typed ahead is for the terminal inside the container, which does the echo
            self.input, self.terminal = ours, True
            self._resize(order["Rows"], order["Columns"])
            given = [theirs] * 3
            outputs = [(os.dup(ours), OUTPUT)]
        else:
            out, errors = os.pipe(), os.pipe()
            outputs = [(out[0], OUTPUT), (errors[0], ERRORS)]
            if order["Stdin"]:
                source, self.input = os.pipe()
            else:
                source, nobodys = os.pipe()  # not /dev/null: crun gives it to the job's user (its issue 1845)
                os.close(nobodys)
            given = [source, out[1], errors[1]]
        for fd, kind in outputs:
            self._watch(fd, kind)
        if self.input >= 0:
            os.set_blocking(self.input, False)
        self.engine = self._spawn(order["Argv"], (given[0], given[1], given[2]))
        for fd in set(given):
            os.close(fd)
        if not order["Leaves"]:
            self.main = self.engine
            self._up()
        self._write_input()

    def _up(self) -> None:
        self.started = time.time()
        if self.order["TimeLimit"]:
            self.limit_at = time.monotonic() + self.order["TimeLimit"]
        if self.order.get("Artifacts"):
            self.look_at = time.monotonic() + LOOK_SECONDS
        self._phase("running")
        notify("READY=1")
        note(self.order, "job-started", self.order["Image"])
        for name in self.early:
            self._signal(name)

    def _child_ended(self, pid: int, status: int) -> None:
        if pid == self.pulling:
            self.pulling = 0
            self._drain()
            if status == 0 and not self.told_to_end:
                self._start()
            else:
                said = f"its image {self.order['Image']} could not be brought here"
                self._end(143 if self.told_to_end else OWN_FAILURE, "not started", said)
        elif pid == self.engine and self.order["Leaves"]:
            if status:
                self._drain()
                self._end(status, "not started", "the engine could not start it")
                return
            self.main = _number(f"{self.state}/conmon")
            try:
                self.handle = os.pidfd_open(_number(f"{self.state}/pid"))
                self.selector.register(self.handle, selectors.EVENT_READ)
            except OSError:
                self.handle, self.ask_until = -1, time.monotonic() + ASK_SECONDS  # it has ended by now
            self._up()
            if self.main in self.ended_children:
                self._child_ended(self.main, self.ended_children[self.main])
        elif pid == self.main:
            self._drain()
            self._end(status, "", "")

    def _ask_conmon(self) -> None:
        """The program is gone, with all that it had begun, and conmon has written down how. It ends itself only
        when podman has tidied up behind the program, which nobody needs to wait for.
        """
        cid = _text(f"{self.state}/cid")
        said = _text(f"{EXITS}/{cid}") if cid else ""
        if said.isdigit() and int(said) != KILLED:  # why it was killed podman knows when it has tidied up
            self._drain()
            self._end(int(said), "", "")
        elif said or time.monotonic() > self.ask_until:
            self.ask_until = 0

    def _end(self, status: int, reason: str, message: str) -> None:
        if self.status is not None:
            return
        self.status = status
        self.reason = self.reason or reason
        self.message = self.message or message
        if status == KILLED and not self.told_to_end and self._killed_for_memory():
            self.reason, self.message = "memory", "it was killed for using more memory than its limit"
        elif self.reason == "not started" and status in (126, 127):
            self.message = "its program cannot be executed" if status == 126 else "there is no such program in it"
        self.kept.close()
        result = {
            "Status": status,
            "Reason": self.reason,
            "Message": self.message,
            "Begun": self.begun,
            "Started": self.started,
            "Ended": time.time(),
            "Output": self.kept.written,
            "OutputLost": self.kept.lost,
            **usage(),
        }
        path = f"{self.order['Folder']}/result"
        fd = write(path, json.dumps(result))
        self._tell_all()
        os.fsync(fd)
        os.close(fd)

    def _let_others_end(self) -> None:
        """The engine tidies up behind the program: killed in the middle of it, it would leave half a mess."""
        until = time.monotonic() + LINGER_SECONDS
        while time.monotonic() < until:
            try:
                if not os.waitpid(-1, os.WNOHANG)[0]:
                    time.sleep(0.01)
            except ChildProcessError:
                return

    def _killed_for_memory(self) -> bool:
        return out_of_memory() or output([*self.order["AskOom"], self.order["Container"]]).strip() == "true"

    # --- telling it to end

    def _tell_to_end(self, reason: str, message: str) -> None:
        if not self.reason:
            self.reason, self.message = reason, message
        self.told_to_end = True
        if self.pulling:
            os.kill(self.pulling, signal.SIGTERM)
        else:
            self._pass_on("TERM")
        self._kill_later()

    def _pass_on(self, name: str) -> None:
        if self.main:
            self._signal(name)
        else:
            self.early.append(name)

    def _kill_later(self) -> None:
        """At once where it has been told before."""
        self.kill_at = time.monotonic() + (0 if self.kill_at else self.order["Grace"])

    def _signal(self, name: str) -> None:
        number = signal.Signals[f"SIG{name}"]
        try:
            if self.handle >= 0:
                signal.pidfd_send_signal(self.handle, number)
            elif (pid := _number(f"{self.state}/pid")) and self.main and self._is_ours(pid):
                os.kill(pid, number)
            elif self.order["Kill"]:
                self._spawn([*self.order["Kill"], str(int(number)), self.order["Container"]], (0, 2, 2))
        except OSError:
            return

    def _is_ours(self, pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
                return f"/job-{self.order['Id']}.service" in file.read()
        except OSError:
            return False

    def _patience(self) -> float | None:
        if self.ask_until:
            return ASK_PAUSE
        times = [at for at in (self.kill_at, self.limit_at, self.look_at) if at]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        if self.ask_until:
            self._ask_conmon()
        if self.kill_at and now >= self.kill_at:
            self.kill_at = now + 5
            self._signal("KILL")
        if self.limit_at and now >= self.limit_at:
            self.limit_at = 0
            self._tell_to_end("time limit", f"it was ended after {self.order['TimeLimit']:g} s, its time limit")
        if self.look_at and now >= self.look_at:
            self.look_at = now + LOOK_SECONDS
            files = self.order["Artifacts"]
            if _too_large(files["Folder"], files["Most"]):
                self.look_at = 0
                self._tell_to_end("artifacts", f"it wrote more than {files['Most']} bytes into {files['Path']}")

    # --- signals and children

    def _signals(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        signal.set_wakeup_fd(theirs.detach(), warn_on_full_buffer=False)
        for name in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(name, lambda number, frame: None)
        self.selector.register(ours, selectors.EVENT_READ)
        return ours

    def _heed(self, wake: socket.socket) -> None:
        for number in wake.recv(4096):
            if number == signal.SIGTERM:
                by = read_json(f"{self.state}/cancel")
                if by is not None:
                    self._tell_to_end("canceled", f"canceled by {by['By']}")
                else:
                    self._tell_to_end("stopped", "its unit was told to stop")
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            self.ended_children[pid] = code if code >= 0 else 128 - code
            self._child_ended(pid, self.ended_children[pid])

    def _spawn(self, argv: list[str], files: tuple[int, int, int]) -> int:
        """A session of its own, so that a terminal that it is given is nobody's controlling one."""
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(files)]
        environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        environment |= self.order["Environment"] if argv is self.order["Argv"] else {}
        default = {signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
        try:
            return os.posix_spawn(argv[0], argv, environment, file_actions=actions, setsid=True, setsigdef=default)
        except OSError as error:
            self.kept.add(ERRORS, f"{argv[0]}: {error.strerror}\n".encode(), _now())
            self._end(OWN_FAILURE, "not started", f"{argv[0]} cannot be run: {error.strerror}")
            return 0

    # --- what it writes

    def _watch(self, fd: int, kind: int) -> None:
        os.set_blocking(fd, False)
        self.outputs[fd] = kind
        self.selector.register(fd, selectors.EVENT_READ)

    def _read(self, fd: int) -> bool:
        """Some of what there is; whether there was any."""
        try:
            data = os.read(fd, PIECE)
        except BlockingIOError:
            return False
        except OSError:  # how a terminal says that nobody holds its other end
            data = b""
        if not data:
            self._unwatch(fd)
            return False
        self.kept.add(self.outputs[fd], data, _now())
        for client in list(self.clients):
            self._tell(client)
        self._hold_back()
        return True

    def _unwatch(self, fd: int) -> None:
        del self.outputs[fd]
        if not self.paused:
            self.selector.unregister(fd)
        os.close(fd)

    def _drain(self) -> None:
        """What the program wrote before it ended: nobody else writes there by now."""
        for fd in list(self.outputs):
            while fd in self.outputs and self._read(fd):
                pass
        for fd in list(self.outputs):
            self._unwatch(fd)
        self.paused = False

    def _hold_back(self) -> None:
        """Read no more for as long as somebody who drives it has not."""
        slowest = min((client.place for client in self.clients if client.driver), default=self.kept.end)
        pause = self.kept.end - slowest > self.ahead
        if pause == self.paused:
            return
        self.paused = pause
        for fd in self.outputs:
            if pause:
                self.selector.unregister(fd)
            else:
                self.selector.register(fd, selectors.EVENT_READ)

    # --- what it reads

    def _write_input(self) -> None:
        if self.input < 0:
            return
        while self.input_parts:
            part = self.input_parts[0]
            try:
                count = os.write(self.input, part)
            except BlockingIOError:
                self._wait_for_input(True)
                return
            except OSError:  # it reads no more: what is said to it is lost, as in any pipe
                count = len(part)
            self._taken(count)
            if count < len(part):
                self.input_parts[0] = part[count:]
            else:
                self.input_parts.popleft()
        self._wait_for_input(False)
        if self.input_over and not self.terminal:
            os.close(self.input)
            self.input = -1

    def _wait_for_input(self, wait: bool) -> None:
        registered = self.input in self.selector.get_map()
        if wait and not registered:
            self.selector.register(self.input, selectors.EVENT_WRITE)
        elif registered and not wait:
            self.selector.unregister(self.input)

    def _taken(self, count: int) -> None:
        while count and self.input_from:
            client, size = self.input_from[0]
            part = min(count, size)
            self._say(client, b"t", COUNT.pack(part))
            count -= part
            if part < size:
                self.input_from[0] = (client, size - part)
            else:
                self.input_from.popleft()

    def _resize(self, rows: int, columns: int) -> None:
        if self.terminal:
            fcntl.ioctl(self.input, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            if self.engine:
                try:
                    os.kill(self.engine, signal.SIGWINCH)
                except ProcessLookupError:
                    return

    # --- who follows

    def _listen(self) -> socket.socket:
        path = f"{self.state}/attach"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{path}.tmp")
        os.chmod(f"{path}.tmp", 0o600)
        listener.listen(16)
        os.rename(f"{path}.tmp", path)  # who finds it is heard
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ)
        return listener

    def _accept(self, listener: socket.socket) -> None:
        try:
            line, _ = listener.accept()
        except OSError:
            return
        if len(self.clients) >= CLIENTS:
            line.close()
            return
        line.setblocking(False)
        client = _Client(line)
        self.clients.append(client)
        self.selector.register(line, selectors.EVENT_READ, client)

    def _converse(self, client: _Client, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(client)
        if not events & selectors.EVENT_READ or client not in self.clients:
            return
        try:
            data = client.line.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._leave(client)
            return
        client.heard += data
        while len(client.heard) >= FRAME.size and client in self.clients:
            kind, length = FRAME.unpack_from(client.heard)
            if length > FRAME_LIMIT:
                self._leave(client)
                return
            if len(client.heard) < FRAME.size + length:
                return
            body = bytes(client.heard[FRAME.size : FRAME.size + length])
            del client.heard[: FRAME.size + length]
            try:
                self._hear(client, chr(kind), body)
            except (struct.error, ValueError, AttributeError):  # it does not keep to the rules
                self._leave(client)

    def _hear(self, client: _Client, kind: str, body: bytes) -> None:
        if kind == "h":
            client.driver = bool(json.loads(body).get("Driver"))
            self._tell(client)
        elif kind == "p":
            (client.place,) = PLACE.unpack(body)
            self._hold_back()
            self._tell(client)
        elif kind == "i":
            if self.order["Stdin"] or self.terminal:
                self.input_parts.append(body)
                self.input_from.append((client, len(body)))
                self._write_input()
            else:
                self._say(client, b"t", COUNT.pack(len(body)))
        elif kind == "e":
            if self.terminal:
                self.input_parts.append(b"\x04")  # what a terminal understands as that
            self.input_over = True
            self._write_input()
        elif kind == "w":
            self._resize(*SIZE.unpack(body))
        elif kind == "k" and (name := body.decode("ascii", "replace")) in SIGNALS:
            self._ask_to_end(name) if name in ENDING else self._pass_on(name)

    def _ask_to_end(self, name: str) -> None:
        """The program may take its time, but not for ever; told once more, none."""
        if self.pulling:
            self._tell_to_end("canceled", f"ended by {name} while its image was pulled")
            return
        self.reason, self.message = self.reason or "canceled", self.message or f"ended by {name}"
        self.told_to_end = True
        self._pass_on(name)
        self._kill_later()

    def _tell(self, client: _Client) -> None:
        """That there is more; once, until it has read so far."""
        if self.kept.end > client.place and client.told <= client.place:
            client.told = self.kept.end
            self._say(client, b"n", PLACE.pack(self.kept.end))

    def _tell_all(self) -> None:
        for client in list(self.clients):
            self._say(client, b"x", b"")

    def _say(self, client: _Client, kind: bytes, body: bytes) -> None:
        client.out += FRAME.pack(kind[0], len(body)) + body
        self._flush(client)

    def _flush(self, client: _Client) -> None:
        if client not in self.clients:
            return
        try:
            while client.out:
                del client.out[: client.line.send(client.out)]
        except BlockingIOError:
            pass
        except OSError:
            self._leave(client)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.out else 0)
        self.selector.modify(client.line, events, client)

    def _leave(self, client: _Client) -> None:
        if client in self.clients:
            self.clients.remove(client)
            self.selector.unregister(client.line)
            client.line.close()
            self._hold_back()

    def _phase(self, name: str) -> None:
        os.close(write(f"{self.state}/phase", f"{name} {time.time():.3f}\n"))


def _too_large(folder: str, most: int) -> bool:
    """Whether the files below hold more bytes than that, or are more than can be counted; no link is followed."""
    total = entries = 0
    folders = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as found:
                for entry in found:
                    entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if total > most or entries > _ENTRIES:
                        return True
        except OSError:
            continue
    return False


def _number(path: str) -> int:
    text = _text(path)
    return int(text) if text.isdigit() else 0


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _now() -> int:
    return time.time_ns() // 1_000


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
