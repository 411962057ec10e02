"""The main process of a job's unit: it runs the engine, keeps what the program writes, and says how it ended.

It is told what to do by `order` in the job's folder below /run. Who wants to follow connects to `attach` beside
it (followers.py), and reads what is kept from the files (output.py). Standard library only.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import struct
import time

from geard.jobs.bounds import Bounds
from geard.jobs.followers import Follower, Followers
from geard.jobs.hooking import RUN, Facts, image_is_here, note, notify, output, read_json, spawn, write
from geard.jobs.output import ERRORS, Kept
from geard.jobs.pipes import Input, Outputs
from geard.jobs.program import KILLED, Program
from geard.jobs.usage import out_of_memory, usage

SIZE = struct.Struct(">HH")
AHEAD = 1024 * 1024
"""bytes of output that a program may be ahead of who drives it, at most"""
SIGNALS = ("INT", "QUIT", "TERM", "USR1", "USR2", "HUP")
ENDING = ("INT", "QUIT", "TERM")
OWN_FAILURE = 125
HOST_READY = "/run/geard/host-ready"
LINGER_SECONDS = 10.0
_SET_CHILD_SUBREAPER = 36


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
        self.order, self.state, self.slice = order, state, order.get("Slice", "")
        self.kept = Kept(order["Folder"], order["Keep"])
        self.ahead = min(AHEAD, self.kept.tail // 2)
        self.selector = selectors.DefaultSelector()
        self.followers = Followers(self.selector, self.kept, self._hear, self._hold_back)
        self.outputs = Outputs(self.selector, self.kept, self._news)
        self.input = Input(self.selector, self.followers.tell_taken)
        self.program = Program(order, state)
        self.bounds = Bounds(order, self.program)
        self.ended_children: dict[int, int] = {}
        self.engine = self.linking = 0
        """process ids: the engine's client, who waits for the container's network to lead it"""
        self.begun = time.time()
        self.started = 0.0
        self.status: int | None = None

    # --- its life

    def run(self) -> int:
        wake = self._signals()
        self._phase("starting")
        listener = self.followers.listen(f"{self.state}/attach")
        if not os.path.exists(HOST_READY):
            self._end(OWN_FAILURE, "not started", "the rules that keep gears apart are not in force on this host")
        elif image_is_here(self.order):
            self._start()
        else:
            self._pull()
        while self.status is None:
            for key, events in self.selector.select(self.bounds.patience()):
                if key.fileobj is wake:
                    self._heed(wake)
                elif key.fileobj is listener:
                    self.followers.accept(listener)
                elif isinstance(key.data, Follower):
                    self.followers.converse(key.data, events)
                elif key.fd in self.outputs.kinds:
                    self.outputs.read(key.fd)
                elif key.fd == self.input.fd:
                    self.input.write()
                elif key.fd == self.program.handle:
                    self.selector.unregister(key.fd)
                    self.program.is_gone()
            if self.program.ask_until and (said := self.program.ask_conmon()) is not None:
                self._end(said, "", "")
            self.bounds.look()
        self._let_others_end()
        return self.status

    def _pull(self) -> None:
        self._phase("pulling")
        argv = ["/usr/bin/gear", "pull", "--engine", self.order["Engine"], self.order["Image"]]
        reader, writer = os.pipe()
        self.program.pulling = self._spawn(argv, (0, writer, writer))
        os.close(writer)
        self.outputs.watch(reader, ERRORS)

    def _start(self) -> None:
        self._phase("starting")
        order = self.order
        given = self.outputs.open(self.input, tty=order["Tty"], stdin=order["Stdin"])
        self._resize(order["Rows"], order["Columns"])
        if link := order.get("Link"):
            self.linking = self._spawn(link, (0, 2, 2))
        self.engine = self._spawn(order["Argv"], given)
        for fd in set(given):
            os.close(fd)
        if not order["Leaves"]:
            self.program.begins(self.engine)
            self._up()
        self.input.write()

    def _up(self) -> None:
        self.started = time.time()
        self.bounds.begin()
        self._phase("running")
        notify("READY=1")
        note(self.order, "job-started", self.order["Image"])
        self.program.begun()

    def _child_ended(self, pid: int, status: int) -> None:
        if pid == self.program.pulling:
            self.program.pulling = 0
            self.outputs.drain()
            if status == 0 and not self.bounds.told:
                self._start()
            else:
                said = f"its image {self.order['Image']} could not be brought here"
                self._end(143 if self.bounds.told else OWN_FAILURE, "not started", said)
        elif pid == self.engine and self.order["Leaves"]:
            if status:
                self._end(status, "not started", "the engine could not start it")
                return
            self.program.begins(self.program.conmon())
            if self.program.handle >= 0:
                self.selector.register(self.program.handle, selectors.EVENT_READ)
            self._up()
            if self.program.main in self.ended_children:
                self._child_ended(self.program.main, self.ended_children[self.program.main])
        elif pid == self.program.main:
            self._end(status, "", "")
        elif pid == self.linking and status:
            self.bounds.tell("not started", "its links could not be made")

    def _end(self, status: int, reason: str, message: str) -> None:
        if self.status is not None:
            return
        self.outputs.drain()
        self.status = status
        reason, message = self.bounds.reason or reason, self.bounds.message or message
        if status == KILLED and not self.bounds.told and self._killed_for_memory():
            reason, message = "memory", "it was killed for using more memory than its limit"
        elif reason == "not started" and status in (126, 127):
            message = "its program cannot be executed" if status == 126 else "there is no such program in it"
        self.kept.close()
        result = {
            "Status": status,
            "Reason": reason,
            "Message": message,
            "Begun": self.begun,
            "Started": self.started,
            "Ended": time.time(),
            "Output": self.kept.written,
            "OutputLost": self.kept.lost,
            **usage(self.slice),
        }
        path = f"{self.order['Folder']}/result"
        fd = write(path, json.dumps(result))
        self.followers.tell_the_end()
        os.fsync(fd)
        os.close(fd)

    def _let_others_end(self) -> None:
        """The engine tidies up behind the program: killed in the middle of it, it would leave half a mess."""
        if self.linking and self.linking not in self.ended_children:
            os.kill(self.linking, signal.SIGTERM)
        until = time.monotonic() + LINGER_SECONDS
        while time.monotonic() < until:
            try:
                if not os.waitpid(-1, os.WNOHANG)[0]:
                    time.sleep(0.01)
            except ChildProcessError:
                return

    def _killed_for_memory(self) -> bool:
        asked = [*self.order["AskOom"], self.order["Container"]]
        return out_of_memory(self.slice) or output(asked).strip() == "true"

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
                    self.bounds.tell("canceled", f"canceled by {by['By']}")
                else:
                    self.bounds.tell("stopped", "its unit was told to stop")
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
        try:
            return spawn(argv, files, self.order["Environment"] if argv is self.order["Argv"] else None)
        except OSError as error:
            self.outputs.say(f"{argv[0]}: {error.strerror}\n")
            self._end(OWN_FAILURE, "not started", f"{argv[0]} cannot be run: {error.strerror}")
            return 0

    # --- who follows

    def _news(self) -> None:
        self.followers.tell_of_news()
        self._hold_back()

    def _hold_back(self) -> None:
        """The program writes no more for as long as somebody who drives it has not read."""
        self.outputs.hold_back(self.kept.end - self.followers.slowest() > self.ahead)

    def _hear(self, one: Follower, kind: str, body: bytes) -> None:
        if kind == "i":
            if self.order["Stdin"] or self.input.terminal:
                self.input.add(body, one)
            else:
                self.followers.tell_taken(one, len(body))
        elif kind == "e":
            self.input.end()
        elif kind == "w":
            self._resize(*SIZE.unpack(body))
        elif kind == "k" and (name := body.decode("ascii", "replace")) in SIGNALS:
            if name in ENDING:
                when = " while its image was pulled" if self.program.pulling else ""
                self.bounds.tell("canceled", f"ended by {name}{when}", name)
            else:
                self.program.pass_on(name)

    def _resize(self, rows: int, columns: int) -> None:
        if self.input.terminal:
            self.input.resize(rows, columns)
            if self.engine:
                try:
                    os.kill(self.engine, signal.SIGWINCH)
                except ProcessLookupError:
                    return

    def _phase(self, name: str) -> None:
        os.close(write(f"{self.state}/phase", f"{name} {time.time():.3f}\n"))
