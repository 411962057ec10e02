"""Pulls from registries that misbehave, onto a full disk, by two at once: what is said, and what is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.conftest import SETTINGS, Shell, drive, eventually

pytestmark = pytest.mark.lab

AT = "127.0.0.1:5009"
PROGRAM = Path(__file__).with_name("odd_registry.py").read_text()
TRUSTED = f'[registries]\ninsecure = ["{AT}", "127.0.0.1:5008"]\nstall = 3\n'


@pytest.fixture(scope="module")
def odd(h1: Shell) -> Iterator[Shell]:
    h1.run(["tee", "/root/odd_registry.py"], stdin=PROGRAM)
    h1.run(["systemd-run", "-q", "--unit=odd-registry", "python3", "/root/odd_registry.py", AT.partition(":")[2]])
    eventually(lambda: h1.run(["curl", "-s", f"http://{AT}/v2/"], check=False).returncode == 0, 60)
    h1.run(["tee", SETTINGS], stdin=TRUSTED)
    yield h1
    h1.run(["systemctl", "stop", "odd-registry"], check=False)
    h1.sh(f"rm -f {SETTINGS} /root/odd_registry.py; podman rmi -fi {AT}/fine {AT}/slow", check=False)


def nothing_half(host: Shell, name: str) -> None:
    assert f"{AT}/{name}" not in host.gear("images", "-o", "name").stdout
    # other tests' own pulls are over by now: what is there is of this one
    eventually(lambda: not host.sh("ls -A /var/lib/geard/pulls; ls /run/geard/pulls/*.bytes", check=False).stdout)
    assert host.sh(f"podman images -q --filter reference={AT}/{name}").stdout == ""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fails", "500"),
        ("stalls", "nothing came for 3 s"),
        ("bytes", "igest"),
    ],
)
def test_a_registry_that_fails_stalls_or_lies(odd: Shell, name: str, says: str) -> None:
    done = odd.gear("pull", f"{AT}/{name}", check=False)
    assert done.returncode not in (0, 5, 6), "an outage is not the registry's no"
    assert f"cannot pull {AT}/{name}" in done.stderr and says in done.stderr
    nothing_half(odd, name)


def test_a_size_that_is_not_true_leads_nowhere_else(odd: Shell) -> None:
    """Podman asks for the digest alone: what comes is what was meant, or nothing."""
    assert "sha256:" in odd.gear("pull", f"{AT}/size").stdout
    layer = odd.run(["podman", "image", "inspect", f"{AT}/size", "--format", "{{index .RootFS.Layers 0}}"]).stdout
    meant = "import sys; sys.argv = ['', '0']; sys.path.insert(0, '/root'); import odd_registry as odd;"
    assert odd.run(["python3", "-c", f"{meant} print(odd.sha(odd.layer('size')))"]).stdout == layer
    odd.run(["podman", "rmi", f"{AT}/size"])


def test_a_mirror_that_fails_is_passed_over(odd: Shell) -> None:
    mirrored = f'[registries.mirrors]\n"{AT}" = ["127.0.0.1:5008/none", "{AT}/fails"]\n'
    odd.run(["tee", SETTINGS], stdin=TRUSTED + mirrored)
    try:
        assert "sha256:" in odd.gear("pull", f"{AT}/fine").stdout
    finally:
        odd.run(["tee", SETTINGS], stdin=TRUSTED)
        odd.run(["podman", "rmi", f"{AT}/fine"], check=False)


def test_two_that_want_one_image_have_it_pulled_once(odd: Shell) -> None:
    both = odd.sh(f"gear pull {AT}/slow & gear pull {AT}/slow; wait $!").stdout.splitlines()
    assert len(both) == 2 and both[0] == both[1] and "sha256:" in both[0]
    odd.run(["podman", "rmi", f"{AT}/slow"])


def test_without_tls_only_by_choice(odd: Shell) -> None:
    odd.run(["tee", SETTINGS], stdin="")
    try:
        done = odd.gear("pull", f"{AT}/fine", check=False)
        assert done.returncode != 0 and f'insecure = ["{AT}"]' in done.stderr
    finally:
        odd.run(["tee", SETTINGS], stdin=TRUSTED)


def test_a_full_disk(odd: Shell) -> None:
    """Where podman keeps a layer while it comes."""
    odd.sh("mkdir -p /var/lib/geard/pulls && mount -t tmpfs -o size=1m tmpfs /var/lib/geard/pulls")
    try:
        done = odd.gear("pull", f"{AT}/fine", check=False)
        assert done.returncode != 0 and "no space left" in done.stderr and "gear prune" in done.stderr
        nothing_half(odd, "fine")
    finally:
        odd.run(["umount", "/var/lib/geard/pulls"])
    assert "sha256:" in odd.gear("pull", f"{AT}/fine").stdout, "asked again, it is whole"
    odd.run(["podman", "rmi", f"{AT}/fine"])


def test_bars_on_a_terminal_and_none_elsewhere(odd: Shell) -> None:
    seen = (f"{AT}/slow:latest  [", ">", " / 2.0 MB", f"{AT}/slow:latest is sha256:")
    steps: list[tuple[object, ...]] = [("size", 30, 100), *(("expect", text) for text in seen)]
    assert drive(odd, ["gear", "pull", f"{AT}/slow", f"{AT}/fine"], steps)["status"] == 0
    odd.run(["podman", "rmi", f"{AT}/slow", f"{AT}/fine"])
    plain = odd.gear("pull", f"{AT}/slow")
    assert (
        plain.stderr.splitlines()[0] == f"pulling {AT}/slow:latest" and "\x1b" not in plain.stdout + plain.stderr
    )
    odd.run(["podman", "rmi", f"{AT}/slow"])


def test_nothing_but_what_came_of_it_where_that_is_asked_for(odd: Shell) -> None:
    names = [f"{AT}/fine:latest", f"{AT}/size:latest"]
    try:
        told = odd.gear("pull", "-q", *names)
        assert sorted(line.partition(" is ")[0] for line in told.stdout.splitlines()) == names
        assert told.stderr == ""
        told = odd.gear("pull", "-o", "json", names[0], f"{AT}/none", names[1], check=False)
        assert told.returncode == 5 and told.stderr.startswith(f"Error: there is no image {AT}/none:latest")
        rows = json.loads(told.stdout)
        assert [row["Image"] for row in rows] == names and {row["Phase"] for row in rows} == {"done"}
        assert all("sha256:" in row["Message"] for row in rows)
        assert odd.gear("pull", "-o", "name", *names).stdout.split() == names
    finally:
        odd.run(["podman", "rmi", "-f", *names], check=False)
