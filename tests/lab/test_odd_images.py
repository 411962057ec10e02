"""Images that end at once, run as somebody, want a terminal, or hold what nobody expects: each runs as its maker
meant it, or is refused with the reason.
"""

from __future__ import annotations

import tarfile
from collections.abc import Generator

import pytest
from tests.lab.conftest import Shell
from tests.lab.odd_images import File, OddImage, archive, bottom_layer

pytestmark = pytest.mark.lab

SLEEP = ["sleep", "3600"]
MANY = 3_000


def odd(name: str, *files: File, **config: object) -> OddImage:
    return OddImage(name, config, files)


def many_files() -> list[File]:
    """Thousands, of all sorts of owners; a few are set-user-id."""
    found = [File("srv/many", mode=0o755, kind=tarfile.DIRTYPE)]
    for n in range(MANY):
        owner = (n * 7919) % 65_536
        mode = (0o4755, 0o2755, 0o1777, 0o600)[n % 4]
        found.append(File(f"srv/many/{n}", b"%d" % owner, mode, owner, 65_535 - owner))
    return found


VOLUME = [
    File("srv/kept", mode=0o750, uid=1234, gid=1235, kind=tarfile.DIRTYPE),
    File("srv/kept/file", b"from the image\n", 0o640, 1234, 1235),
    File("srv/kept/.hidden", b"too\n", 0o600, 0, 0),
    File("srv/kept/tool", b"#!/bin/sh\n", 0o4755, 0, 0),
    File("srv/kept/under", mode=0o1777, uid=65_535, gid=1, kind=tarfile.DIRTYPE),
]

IMAGES = (
    odd("ends-at-once", Cmd=["true"]),
    odd("fails-at-once", Cmd=["false"]),
    odd("no-command"),
    odd("empty-command", Cmd=[]),
    odd("interactive", Cmd=["sh", "-i"]),
    odd("wants-a-tty", Cmd=["sh", "-c", "test -t 0 || { echo no terminal; exit 9; }; sleep 3600"], Tty=True),
    odd("by-name", Cmd=SLEEP, User="worker"),
    odd("by-group", Cmd=SLEEP, User="worker:root"),
    odd("by-number", Cmd=SLEEP, User="4321:4322"),
    odd("highest-number", Cmd=SLEEP, User="65535"),
    odd("unknown-name", Cmd=SLEEP, User="stranger"),
    odd("too-high", Cmd=SLEEP, User="65536"),
    odd("too-high-group", Cmd=SLEEP, User="1:70000"),
    odd("owned-too-high", File("srv/file", b"x", uid=100_000), Cmd=SLEEP),
    odd("many-files", *many_files(), Cmd=SLEEP),
    odd("volume-with-files", *VOLUME, Cmd=SLEEP, Volumes={"/srv/kept": {}}),
    odd("no-such-folder", Cmd=SLEEP, WorkingDir="/no/such/folder"),
    odd("odd-words", Cmd=["sh", "-c", 'printf "%s|" "$@"; sleep 3600', "x", "$HOME", "%n", "a\nb", "", '"', "\\"]),
    odd("odd-ports", Cmd=SLEEP, ExposedPorts={"80-81/tcp": {}, "99999/tcp": {}, "x": {}, "53/udp": {}}),
    odd(
        "odd-volumes",
        Cmd=SLEEP,
        Volumes={"/a,b": {}, '/q"uote': {}, "/sp ace": {}, "/": {}, "rel": {}, "/x/../y": {}},
    ),
)


@pytest.fixture(scope="session")
def odd_images(h1: Shell) -> Generator[None]:
    below = bottom_layer(h1.output(["podman", "save", "-q", "docker.io/geard/test-tools"]))
    for image in IMAGES:
        h1.run(["podman", "load", "-q"], stdin=archive(image, below))
    yield
    h1.run(["podman", "rmi", "-f", *(image.full_name for image in IMAGES)], check=False)


def test_x(host: Shell, odd_images: None) -> None:
    for image in IMAGES:
        done = host.gear("install", "odd/" + image.name, image.name, "--start", check=False)
        print("=====", image.name, done.returncode, done.stdout, done.stderr)
        print("\n".join(host.status(image.name)["Advice"]))
        print("\n".join(host.status(image.name)["Log"][-5:]))
