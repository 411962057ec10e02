"""A job's program, as its main process knows it: which process it is, how it is told, how it ended. Standard
library only.

Podman leaves the program with a conmon, which becomes our child, being its nearest subreaper; its status is the
program's. Where the engine's client stays (a terminal, Docker) the client's status is.
"""

from __future__ import annotations

import os
import signal
import time

from geard.jobs.hooking import Facts, read_text, spawn

EXITS = "/run/libpod/exits"
"""where podman has conmon write how containers ended"""
KILLED = 137
ASK_SECONDS = 2.0
ASK_PAUSE = 0.003


class Program:
    def __init__(self, order: Facts, state: str) -> None:
        self.main = 0
        """the process whose status is the program's; 0 while there is none"""
        self.pulling = 0
        """the process that brings its image, which is told in its place"""
        self.handle = -1
        """of the program itself (pidfd), where its engine tells which it is"""
        self.ask_until = 0.0
        """it is gone, and conmon is about to say how it ended"""
        self._order, self._state = order, state
        self._early: list[str] = []
        """signals that came before the engine said which process to tell"""

    def begins(self, main: int) -> None:
        self.main = main
        if self._order["Leaves"]:
            try:
                self.handle = os.pidfd_open(_number(f"{self._state}/pid"))
            except OSError:
                self.is_gone()  # it has ended by now

    def begun(self) -> None:
        for name in self._early:
            self.signal(name)

    def pass_on(self, name: str) -> None:
        if self.pulling:
            os.kill(self.pulling, signal.SIGTERM)
        elif self.main:
            self.signal(name)
        else:
            self._early.append(name)

    def signal(self, name: str) -> None:
        number = signal.Signals[f"SIG{name}"]
        try:
            if self.handle >= 0:
                signal.pidfd_send_signal(self.handle, number)
            elif (pid := _number(f"{self._state}/pid")) and self.main and self._is_ours(pid):
                os.kill(pid, number)
            elif self._order["Kill"]:
                spawn([*self._order["Kill"], str(int(number)), self._order["Container"]], (0, 2, 2))
        except OSError:
            return

    def conmon(self) -> int:
        return _number(f"{self._state}/conmon")

    def is_gone(self) -> None:
        self.ask_until = time.monotonic() + ASK_SECONDS

    def ask_conmon(self) -> int | None:
        """The program is gone, with all that it had begun, and conmon has written down how: that, or None. It ends
        itself only when podman has tidied up behind the program, which nobody needs to wait for.
        """
        cid = read_text(f"{self._state}/cid")
        said = read_text(f"{EXITS}/{cid}") if cid else ""
        if said.isdigit() and int(said) != KILLED:  # why it was killed podman knows when it has tidied up
            return int(said)
        if said or time.monotonic() > self.ask_until:
            self.ask_until = 0
        return None

    def _is_ours(self, pid: int) -> bool:
        return f"/job-{self._order['Id']}.service" in read_text(f"/proc/{pid}/cgroup")


def _number(path: str) -> int:
    text = read_text(path)
    return int(text) if text.isdigit() else 0
