"""Hosts as each other's registry: h1 hands out what its engine has, h2 pulls there before it asks a registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab.labs import Lab
from tests.lab.conftest import SETTINGS, Shell, eventually

TOOLS = "docker.io/geard/test-tools"
IMAGE = "h1:5000/geard/shared:1"
MADE = """
import io, random, subprocess, tarfile
files = tarfile.open("/tmp/shared.tar", "w")
for name, size in (("data/large", 3_000_000), ("data/deep/small", 700), ("data/empty", 0)):
    entry = tarfile.TarInfo(name)
    entry.size = size
    files.addfile(entry, io.BytesIO(random.Random(name).randbytes(size)))
files.close()
"""


@pytest.fixture(scope="module")
def h2(lab: Lab, h1: Shell) -> Shell:
    h1.lab_does("up", "2")
    return Shell(lab, "h2")


@pytest.fixture(scope="module")
def peers(h1: Shell, h2: Shell) -> Iterator[Shell]:
    """h1 has pulled an image of a registry, which compresses; the registry is down. h2 may pull from h1."""
    insecure = '[registries]\ninsecure = ["h1:5000"]\n'
    h1.run(["tee", SETTINGS], stdin=f'{insecure}[agent]\nlisten = ["0.0.0.0:43273"]\n')
    h1.run(["systemctl", "restart", "geard.service"])
    h1.run(["systemctl", "start", "docker-registry"])
    eventually(lambda: h1.run(["curl", "-s", "http://h1:5000/v2/"], check=False).returncode == 0)
    h1.run(["python3", "-c", MADE])
    h1.sh(f"printf 'FROM {TOOLS}\\nADD shared.tar /\\n' >/tmp/Cf && podman build -q -t {IMAGE} -f /tmp/Cf /tmp")
    h1.run(["podman", "push", "-q", "--tls-verify=false", IMAGE])
    h1.run(["podman", "rmi", IMAGE])
    h1.gear("pull", IMAGE)
    h1.run(["systemctl", "stop", "docker-registry"])
    eventually(lambda: f"{h1.address}:43273" in h1.run(["ss", "-Hltn"]).stdout)
    h2.run(["gear", "host", "remove", "h1"], check=False)
    h2.sh(h1.gear("host", "invite", "h2", "--scope", "pull").stdout)
    h2.run(["tee", SETTINGS], stdin=f'{insecure}[images]\npeers = ["nobody", "h1"]\n')
    yield h2
    h2.sh(
        f"gear delete --purge carried; gear host remove h1; rm -f {SETTINGS}; podman rmi -fi {IMAGE}", check=False
    )
    h1.sh(f"gear host revoke h2; gear token revoke puller; rm -f {SETTINGS}; podman rmi -fi {IMAGE}", check=False)
    h1.run(["systemctl", "restart", "geard.service"], check=False)


def _digest(host: Shell) -> str:
    return host.run(["podman", "image", "inspect", IMAGE, "--format", "{{.Digest}}"]).stdout.strip()


def _received(host: Shell, other: Shell) -> int:
    """Bytes by the network on which the other host is."""
    device = host.sh(f"ip route get {other.address} | sed -n 's/.* dev \\([^ ]*\\) .*/\\1/p'").stdout.strip()
    return int(host.sh(f"cat /sys/class/net/{device}/statistics/rx_bytes").stdout)


def test_a_gears_image_comes_from_a_peer_and_keeps_the_registrys_digest(peers: Shell, h1: Shell) -> None:
    before = _received(peers, h1)
    peers.gear("install", IMAGE, "carried", "--start")
    assert 3_000_000 < _received(peers, h1) - before < 4_500_000, "h2 has the layers below"
    assert peers.status("carried")["Digest"] == _digest(h1)
    assert (
        peers.inside("carried", "sha256sum", "/data/large").stdout
        == h1.sh("tar -xOf /tmp/shared.tar data/large | sha256sum | sed 's,-,/data/large,'").stdout
    )
    assert "by-id/" not in peers.gear("images", "-o", "name").stdout
    assert peers.sh("find /run/geard/pulls -mindepth 1 -type d").stdout == ""
    # The very image again, by the registry's digest: the peer's manifests prove that it is the one.
    peers.gear("stop", "carried")
    peers.run(["podman", "rmi", IMAGE])
    peers.gear("start", "carried")
    assert peers.status("carried")["ActiveState"] == "active"
    pinned = f"{IMAGE.removesuffix(':1')}@{_digest(h1)}"
    assert _digest(h1) in peers.gear("pull", pinned).stdout
    wrong = peers.gear("pull", pinned[:-4] + "0000", check=False)
    assert wrong.returncode != 0
    peers.gear("delete", "--purge", "carried")


def _forget(host: Shell, h1: Shell) -> None:
    """Also where it has no name any more, as after a pull by digest."""
    id = h1.run(["podman", "image", "inspect", IMAGE, "--format", "{{.Id}}"]).stdout.strip()
    host.run(["podman", "rmi", "-fi", id], check=False)


def test_a_peer_whose_files_are_not_what_they_were_is_passed_over(peers: Shell, h1: Shell) -> None:
    """One byte of another value: the digest tells. A file too short: the line is cut. Nothing has the name."""
    _forget(peers, h1)
    found = h1.sh("ls /var/lib/containers/storage/overlay/*/diff/data/large").stdout.split()
    h1.sh(f"cp -p {found[0]} /tmp/large")
    try:
        for harm in ("printf x | dd of={} bs=1 seek=7 conv=notrunc", "truncate -s 2000000 {}", "rm {}"):
            h1.sh("; ".join(harm.format(each) for each in found))
            failed = peers.gear("pull", IMAGE, check=False)
            assert failed.returncode != 0 and "h1:5000" in failed.stderr
            assert IMAGE not in peers.gear("images", "-o", "name").stdout
            assert "by-id/" not in peers.gear("images", "-o", "name").stdout
            assert "not from h1" in peers.run(["journalctl", "-q", "-u", "geard-pull@*"]).stdout
            h1.sh("; ".join(f"cp -p /tmp/large {each}" for each in found))
    finally:
        h1.sh("; ".join(f"cp -p /tmp/large {each}" for each in found))
    peers.gear("pull", IMAGE)


def test_a_peer_that_says_nothing_holds_up_a_pull_for_two_seconds(peers: Shell, h1: Shell) -> None:
    _forget(peers, h1)
    h1.run(["systemctl", "start", "docker-registry"])
    pid = h1.run(["systemctl", "show", "-P", "MainPID", "geard.service"]).stdout.strip()
    h1.run(["systemctl", "set-property", "--runtime", "geard.service", "WatchdogSec=0"], check=False)
    eventually(lambda: h1.run(["curl", "-s", "http://h1:5000/v2/"], check=False).returncode == 0)
    h1.run(["kill", "-STOP", pid])
    try:
        assert "sha256:" in peers.gear("pull", IMAGE).stdout
        assert "Trying to pull h1:5000" in peers.run(["journalctl", "-q", "-u", "geard-pull@*"]).stdout
    finally:
        h1.run(["kill", "-CONT", pid], check=False)
        h1.run(["systemctl", "stop", "docker-registry"])


def test_a_peer_whose_agent_is_killed_meanwhile(peers: Shell, h1: Shell) -> None:
    """Whatever had come of it: the registry has the rest, and nothing half is left."""
    _forget(peers, h1)
    h1.run(["systemctl", "start", "docker-registry"])
    eventually(lambda: h1.run(["curl", "-s", "http://h1:5000/v2/"], check=False).returncode == 0)
    kill = (
        "systemctl kill -s KILL geard.service; systemctl reset-failed geard.service; systemctl start geard.service"
    )
    try:
        with ThreadPoolExecutor() as pool:
            pulling = pool.submit(peers.gear, "pull", IMAGE)
            while not pulling.done():
                h1.sh(kill, check=False)
        assert _digest(h1) in pulling.result().stdout
        assert peers.sh("find /run/geard/pulls /var/lib/geard/pulls -mindepth 1 -type d", check=False).stdout == ""
        assert "by-id/" not in peers.gear("images", "-o", "name").stdout
    finally:
        h1.run(["systemctl", "stop", "docker-registry"])
        eventually(lambda: f"{h1.address}:43273" in h1.run(["ss", "-Hltn"]).stdout)


def test_podman_alone_pulls_with_a_token(peers: Shell, h1: Shell) -> None:
    _forget(peers, h1)
    token = h1.gear("token", "create", "puller", "--scope", "pull").stdout.split()[-1]
    weak = h1.gear("token", "create", "reader", "--scope", "read").stdout.split()[-1]
    peers.run(["mkdir", "-p", "/tmp/certs"])
    peers.run(["tee", "/tmp/certs/ca.crt"], stdin=h1.agent("GET", "/authority").stdout)
    at = f"{h1.address}:43273"
    source, options = f"{at}/{TOOLS}:latest", ["--cert-dir", "/tmp/certs"]
    try:
        for creds in ([], ["--creds", "any:wrong"], ["--creds", f"any:{weak}"]):
            refused = peers.run(["podman", "pull", "-q", *options, *creds, source], check=False)
            assert refused.returncode != 0, creds
        login = ["podman", "login", *options, "-u", "any", "--password-stdin", "--authfile", "/tmp/certs/auth", at]
        assert "Login Succeeded" in peers.run(login, stdin=token).stdout
        pull = ["podman", "pull", "-q", *options, "--authfile", "/tmp/certs/auth", source]
        pulled = peers.run(pull).stdout.strip()
        assert pulled == h1.run(["podman", "image", "inspect", TOOLS, "--format", "{{.Id}}"]).stdout.strip()
        search = [
            "curl",
            "-sS",
            "--cacert",
            "/tmp/certs/ca.crt",
            "-u",
            f"any:{token}",
            f"https://{at}/v2/_catalog",
        ]
        assert "docker.io/geard/test-tools" in json.loads(peers.run(search).stdout)["repositories"]
    finally:
        peers.run(["podman", "untag", TOOLS, source], check=False)
        h1.sh("gear token revoke puller; gear token revoke reader", check=False)
