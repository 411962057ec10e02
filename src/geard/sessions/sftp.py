"""Runs an sftp-server in a gear, with files of this host lent to it; or says to the client why that cannot be.

    sftp.py COUNT FILE... ENGINE ARGUMENT...        its stdin, stdout, stderr are the server's; so is its status

The COUNT files are the engine's from descriptor 3 on, as copies in memory that nobody can change: none of the
host's own is open in there. Where SELinux is on, they are labelled with $GEARD_SFTP_LABEL, so that the gear may
run them. Of what a subsystem writes to stderr sshd keeps all to itself, so a refusal is said in SFTP, as the
reason why whatever was asked for failed. Standard library only: somebody waits for it.
"""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import suppress

FIRST = 3
LABEL = "GEARD_SFTP_LABEL"
VERSION = 3
_NOBODY = 1
"""an sftp-server does not find its user's name"""
_COULD_NOT_BEGIN = {_NOBODY, 125, 126, 127}
"""what has begun ends otherwise: with 0, 255, or by a signal"""
_INIT, _IS_VERSION, _STATUS = 1, 2, 101  # draft-ietf-secsh-filexfer-02
_FAILURE = 4
_PACKET_LIMIT = 256 * 1024
_ERRORS_LIMIT = 16 * 1024


def main(argv: list[str]) -> int:
    count = int(argv[0])
    files, words = argv[1 : 1 + count], argv[1 + count :]
    above = FIRST + count  # none may stand where another one's place is
    errors = _above(_errors(), above)
    label = os.environ.pop(LABEL, "")
    places = [(errors, 2), *((_above(_copy(path, label), above), FIRST + n) for n, path in enumerate(files))]
    actions = [(os.POSIX_SPAWN_DUP2, fd, place) for fd, place in places]
    child = os.posix_spawnp(words[0], words, os.environ, file_actions=actions)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = os.pread(errors, _ERRORS_LIMIT, 0).rstrip(b"\0")
    os.write(2, said)
    if status in _COULD_NOT_BEGIN:
        with suppress(OSError):  # the client has gone
            refuse(_reason(status, said.decode(errors="replace")))
    return status if status >= 0 else 128 - status


def _errors() -> int:
    """For a few lines and no more: a gear's own program may write there."""
    file = os.memfd_create("errors", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, _ERRORS_LIMIT)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    return file


def _copy(path: str, label: str) -> int:
    copy = os.memfd_create(os.path.basename(path), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(path, "rb", buffering=0) as file:
        while os.sendfile(copy, file.fileno(), None, 1 << 30):
            pass
    if label:
        with suppress(OSError):  # without it the program does not begin, which is said
            os.setxattr(copy, "security.selinux", label.encode())
    all_of_them = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, all_of_them)
    return copy


def _above(fd: int, least: int) -> int:
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least)
    os.close(fd)
    return moved


def _reason(status: int, said: str) -> str:
    lines = said.strip().splitlines()
    # podman loses what was said by who left input unread (see host/keeper.py).
    if lines[-1].startswith("No user found for uid") if lines else status == _NOBODY:
        return "its image has no /etc/passwd in which the user stands that it runs as; gear cp needs none"
    return (
        lines[-1].removeprefix("gear: ") if lines else "no sftp-server could be started in this gear; try gear cp"
    )


def refuse(why: str, source: int = 0, target: int = 1) -> None:
    """Until the client has gone."""
    _say(target, bytes([_IS_VERSION]) + _number(VERSION))
    while packet := _packet(source):
        if packet[0] != _INIT:
            _say(
                target,
                bytes([_STATUS]) + packet[1:5] + _number(_FAILURE) + _string(f"gear: {why}") + _string("en"),
            )


def _packet(source: int) -> bytes:
    size = int.from_bytes(_read(source, 4), "big")
    return _read(source, size) if 5 <= size <= _PACKET_LIMIT else b""


def _read(source: int, count: int) -> bytes:
    parts = b""
    while len(parts) < count and (part := os.read(source, count - len(parts))):
        parts += part
    return parts if len(parts) == count else b""


def _say(target: int, body: bytes) -> None:
    data = _number(len(body)) + body
    while data:
        data = data[os.write(target, data) :]


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _string(text: str) -> bytes:
    data = text.encode()
    return _number(len(data)) + data


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
