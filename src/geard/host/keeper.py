"""Runs a program that runs another one elsewhere (`podman exec`), so that both end together, and signals arrive.

    keeper.py PROGRAM ARGUMENT...        its own stdin, stdout, stderr are the program's; so is its exit status

podman passes no signal on to what it has started in a container, and leaves it running when podman itself is
killed (podman 5.4; https://github.com/containers/podman/issues/15553 and its like). What it has started is a child
of a conmon, which has left podman; being its nearest "subreaper" (prctl(2)) this process becomes conmon's parent,
and so knows whom to tell. What Docker Engine has started is nobody's child here; docker_exec.py says which it is.

Nor does all of a program's output arrive that ends while input is on its way: conmon leaves that unread, and of a
socket closed so the kernel says first that it was reset, and podman hears no further (podman 5.4;
https://github.com/containers/podman/issues/11446). With $GEARD_FEED=conmon input goes past podman here, into
conmon's own pipe to the program.

INT, QUIT, TERM, USR1 and USR2 go on to the program. HUP says that whoever asked is gone: the program is ended, by
TERM, after GRACE seconds by KILL; a second HUP does not wait. Standard library only: somebody waits for it.
"""

from __future__ import annotations

import _thread
import ctypes
import fcntl
import os
import select
import signal
import stat
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress

GRACE = 5.0
PROGRAM = 4
"""the descriptor on which who started the program elsewhere may say which it is: process id and start"""
ENV_FILE = 3
"""the descriptor on which the program finds the text of $GEARD_ENV_FILE, as an option of podman's wants it"""

FEED = "GEARD_FEED"
"""says who gives the program its input: "conmon", else whoever is run here"""

_SET_CHILD_SUBREAPER = 36
_PASSED_ON = {signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
_OTHERS = {signal.SIGHUP, signal.SIGCHLD, signal.SIGWINCH, signal.SIGTSTP}
_DEFAULT = _PASSED_ON | _OTHERS | {signal.SIGPIPE, signal.SIGXFSZ}  # the last two Python ignores
_TICK = 0.05
_LOOK = 0.01
_CHUNK = 64 * 1024
_GIVE_UP = 10.0


def main(argv: list[str]) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # What is ignored stays so: nohup(1), a shell's background.
    watched = {name for name in _PASSED_ON | _OTHERS if signal.getsignal(name) != signal.SIG_IGN}
    # TTOU would stop whoever gives the terminal back from the background.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*watched, signal.SIGTTOU})
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)
    terminal = _terminal()
    feed = os.environ.pop(FEED, "")
    listed = _list_session()
    try:
        _env_file()
        _program_file()
        # A session of its own: what the terminal sends comes here and nowhere else; a terminal that is not
        # one's own can be read and set all the same.
        apart = os.pipe() if feed == "conmon" and terminal is None else None
        child = os.posix_spawnp(
            argv[0],
            argv,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, apart[0], 0)] if apart else [],
            setsid=True,
            setsigmask=before - watched,
            setsigdef=_DEFAULT,
        )
        if apart is not None:
            os.close(apart[0])
            _thread.start_new_thread(_feed, (child, apart[1], set(_pipes("self").values())))
        elif terminal is None:
            _let_go_of_input()
        return _Keeper(child, watched).keep()
    except FileNotFoundError:
        print(f"Error: {argv[0]} is not installed", file=sys.stderr)
        return 125
    finally:
        if terminal is not None:
            terminal()
        if listed:
            os.unlink(listed)


def _list_session() -> str:
    """$GEARD_SESSION is a folder, then what is to be read there as long as this lives: by its lock it is known to.
    The file, where it is there.
    """
    folder, _, text = os.environ.pop("GEARD_SESSION", "").partition("\n")
    if not folder:
        return ""
    path, draft = f"{folder}/{os.getpid()}", f"{folder}/.{os.getpid()}"
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, text.encode("utf-8", "backslashreplace"))
        os.rename(draft, path)
    except OSError as error:  # a session goes before a list of them
        print(f"gear: this session is not listed: {error.strerror}", file=sys.stderr)
        return ""
    return path


def _terminal() -> Callable[[], None] | None:
    """What makes the terminal as it is now; None where stdin is none."""
    try:
        before = termios.tcgetattr(0)
    except termios.error:
        return None

    def restore() -> None:
        try:
            termios.tcsetattr(0, termios.TCSANOW, before)
        except termios.error:  # it is gone
            return

    return restore


def _let_go_of_input() -> None:
    """It is the program's alone: whoever writes it sees when nobody reads any more."""
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _feed(podman: int, ending: int, others: set[str]) -> None:
    """What is read goes to the program; its end, on `ending`, to podman, since conmon holds that pipe as well."""
    target = -1
    try:
        while data := _read():
            if target < 0:
                target = _program_input(podman, others)
            while data:
                data = data[os.write(target, data) :]
    except OSError:  # nobody reads it any more
        _let_go_of_input()
        return  # podman sees no end of input: it has output to read still
    if target >= 0:
        os.close(target)
    _let_go_of_input()
    os.close(ending)


def _read() -> bytes:
    while True:
        try:
            return os.read(0, _CHUNK)
        except BlockingIOError:  # whoever has the other end of it has made it so
            select.select([0], [], [])


def _program_input(podman: int, others: set[str]) -> int:
    """conmon's end of the program's input, once it is there: the first pipe that it writes to and nobody had
    before. All that it makes are there when it has forked; those that are the program's it closes then.
    """
    while True:
        for conmon in _conmons(podman):
            if _children(conmon):
                with suppress(OSError):  # closed meanwhile: the next look is at what is left
                    return _open_first(conmon, others)
        time.sleep(_LOOK)


def _open_first(pid: int, others: set[str]) -> int:
    """The first pipe that a process writes to and is none of `others`. Raises OSError where there is none now."""
    for path, pipe in _pipes(pid).items():
        if pipe not in others and not os.lstat(path).st_mode & stat.S_IRUSR:
            found = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            if os.readlink(f"/proc/self/fd/{found}") == pipe:
                return found
            os.close(found)  # another has its number by now
            break
    raise FileNotFoundError


def _pipes(pid: int | str) -> dict[str, str]:
    """Those that a process has open: where it shows, and which it is."""
    found: dict[str, str] = {}
    with suppress(OSError):  # it has ended
        for number in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):  # closed by now
                path = f"/proc/{pid}/fd/{number}"
                found[path] = os.readlink(path)
    return {path: link for path, link in found.items() if link.startswith("pipe:")}


def _env_file() -> None:
    text = os.environ.pop("GEARD_ENV_FILE", None)
    if text is not None:
        made = os.memfd_create("environment", 0)
        os.write(made, os.fsencode(text))
        if made != ENV_FILE:
            os.dup2(made, ENV_FILE)
            os.close(made)


def _program_file() -> None:
    made = os.memfd_create("program", 0)
    if made != PROGRAM:
        os.dup2(made, PROGRAM)
        os.close(made)


class _Keeper:
    def __init__(self, child: int, watched: set[signal.Signals]) -> None:
        self._child = child
        self._watched = watched
        self._status: int | None = None
        self._kill_at: float | None = None
        """when to KILL, once it is being ended"""
        self._told: set[int] = set()

    def keep(self) -> int:
        while True:
            ending = self._kill_at is not None
            got = signal.sigtimedwait(self._watched, _TICK) if ending else signal.sigwaitinfo(self._watched)
            if got is not None:
                self._heed(signal.Signals(got.si_signo))
            if self._status is not None:
                if not self._programs() or self._over() >= _GIVE_UP:
                    return self._status
                self._end()  # podman was killed, or gave up; what it started still runs
            if self._kill_at is not None:
                self._press()

    def _heed(self, name: signal.Signals) -> None:
        if name == signal.SIGCHLD:
            self._reap()
        elif name == signal.SIGHUP:
            self._end(at_once=self._kill_at is not None)
        elif name == signal.SIGWINCH:
            self._tell_child(name)
        elif name == signal.SIGTSTP:
            self._tell_child(signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)
            self._tell_child(signal.SIGCONT)
        else:
            for program in self._programs() or [self._child]:
                _send(program, name)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._child:
                code = os.waitstatus_to_exitcode(status)
                self._status = code if code >= 0 else 128 - code

    def _end(self, *, at_once: bool = False) -> None:
        if self._kill_at is None or at_once:
            self._kill_at = time.monotonic() + (0 if at_once else GRACE)

    def _over(self) -> float:
        """Seconds since the time to KILL; below 0 before it."""
        return -1 if self._kill_at is None else time.monotonic() - self._kill_at

    def _press(self) -> None:
        over = self._over()
        programs = self._programs()
        for program in programs:
            if over >= 0:
                _send(program, signal.SIGKILL)
            elif program not in self._told:
                self._told.add(program)
                _send(program, signal.SIGTERM)
                if _has_terminal(program):
                    _send(program, signal.SIGHUP)  # an interactive shell heeds no TERM
        if self._status is None and (not programs or over >= 1):
            if over >= 0:
                self._tell_child(signal.SIGKILL)
            elif self._child not in self._told:
                self._told.add(self._child)
                self._tell_child(signal.SIGTERM)

    def _tell_child(self, name: signal.Signals) -> None:
        if self._status is None:
            _send(self._child, name)

    def _programs(self) -> list[int]:
        """What podman has started: the living children of the conmons it left behind. Or what Docker has, as
        docker_exec.py says.
        """
        found = [pid for conmon in _conmons(self._child) for pid in _children(conmon)]
        return [pid for pid in (*found, *_told_program()) if _stat(pid)[1] not in "ZX"]


def _told_program() -> list[int]:
    """Known by its start as well: another may have its number by now."""
    pid, _, began = os.pread(PROGRAM, 64, 0).decode().strip().partition(" ")
    return [int(pid)] if pid and _stat(int(pid))[20:21] == [began] else []


def _send(pid: int, name: signal.Signals) -> None:
    """To the process and those it leads."""
    try:
        (os.killpg if os.getpgid(pid) == pid else os.kill)(pid, name)
    except ProcessLookupError:
        return


def _conmons(podman: int) -> list[int]:
    """Those that podman has left, which are children here."""
    return [pid for pid in _children(os.getpid()) if pid != podman and _stat(pid)[0] == "conmon"]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def _stat(pid: int) -> list[str]:
    """Name, state, and on from there as proc_pid_stat(5) has it."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return ["", "X", "0", "0", "0", "0"]
    return [name, *rest.split()]


def _has_terminal(pid: int) -> bool:
    return _stat(pid)[5] != "0"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
