"""Somebody at a terminal, in a lab host: runs a command on a pty and follows steps. Standard library only.

["size", ROWS, COLUMNS]   ["expect", TEXT]   ["send", TEXT]   ["pause", SECONDS]   ["hang up"]
"""

import fcntl
import json
import os
import select
import struct
import sys
import termios
import time


def main() -> None:
    told = json.loads(sys.argv[1])
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    pid = os.fork()
    if pid == 0:
        os.close(master)
        os.environ["TERM"] = "vt220"
        os.login_tty(slave) if hasattr(os, "login_tty") else _login(slave)
        os.execvp(told["command"][0], told["command"])
    seen = ""
    for what, *more in told["steps"]:
        if what == "size":
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *more, 0, 0))
        elif what == "pause":
            time.sleep(more[0])
        elif what == "send":
            os.write(master, more[0].encode())
        elif what == "hang up":
            break
        else:
            end = time.monotonic() + 20
            while more[0] not in seen:
                if not select.select([master], [], [], max(0, end - time.monotonic()))[0]:
                    sys.exit(f"{more[0]!r} was not seen in {seen!r}")
                seen += os.read(master, 4096).decode(errors="replace")
            seen = seen.partition(more[0])[2]
    restored = None
    if told["steps"][-1] == ["hang up"]:
        os.close(slave)
        os.close(master)
        _, status = os.waitpid(pid, 0)
    else:
        status = _ended(pid, master)
        restored = termios.tcgetattr(slave) == before
    print(json.dumps({"status": os.waitstatus_to_exitcode(status), "restored": restored}))


def _ended(pid: int, master: int) -> int:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if select.select([master], [], [], 0.05)[0]:
            os.read(master, 4096)
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
    sys.exit("it does not end")


def _login(slave: int) -> None:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)


main()
