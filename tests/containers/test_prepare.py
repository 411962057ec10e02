"""gear-prepare: what a gear's start lays out, from what stands on disk. Its input comes from hostile hands too."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from tests.containers.test_units import PLAIN
from tests.fakes.host import FakeHost

from geard import catalog
from geard.containers import selinux, versions
from geard.containers.definition import HostUser
from geard.containers.folders import Folders
from geard.containers.requests import Limits
from geard.containers.unit_hooks import prepare
from geard.environments import store
from geard.environments.requests import Environment, EnvironmentPart
from geard.host import control_groups, disk_quotas
from geard.host.storage import Changes
from geard.ports.requests import PortPair, Protocol, PublishedPorts
from geard.secrets.requests import SecretsPart, SecretUse


@pytest.fixture
def folders(fake_host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.setattr(prepare, "BASE", str(fake_host.paths.base))
    monkeypatch.setattr(prepare, "RUN", str(fake_host.paths.run / "gears"))
    monkeypatch.setattr(prepare, "IMAGES", "/nowhere")
    monkeypatch.setattr(sys, "argv", ["gear-prepare", "ctr-web"])
    found = Folders.of(fake_host.paths, "web")
    found.versions.mkdir(parents=True)
    return found


def lay_out(host: FakeHost, folders: Folders, *command: str) -> tuple[str, str, str]:
    """env, environment and version for a gear of that command."""
    definition = msgspec.structs.replace(PLAIN, command=command)
    with Changes() as changes:
        versions.write(folders, changes, definition, catalog.load(), host.engine)
    assert prepare.main("ctr-web") == 0
    env, environment, version = ((folders.state / name).read_text() for name in ("env", "environment", "version"))
    return env, environment, version


def test_a_gear_without_an_environment(fake_host: FakeHost, folders: Folders) -> None:
    env, environment, version = lay_out(fake_host, folders)
    assert (env, version) == ("", PLAIN.version)
    assert environment == f'GEAR_ENV="--env-file={folders.state}/env"\n'


def test_a_disk_is_bounded_by_a_device_of_it(
    fake_host: FakeHost, folders: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(prepare, "DEVICES", str(tmp_path))
    mknod, disk_of = Mock(), Mock(return_value="8:16")
    monkeypatch.setattr(os, "mknod", mknod)
    monkeypatch.setattr(control_groups, "disk_of", disk_of)
    monkeypatch.setattr(prepare, "_find_geard", Mock())
    definition = msgspec.structs.replace(PLAIN, limits=Limits(io_read=1_000_000))
    with Changes() as changes:
        versions.write(folders, changes, definition, catalog.load(), fake_host.engine)
    assert prepare.main("ctr-web") == 0
    device = f"{tmp_path}/geard-disk-8-16"
    mknod.assert_called_once_with(device, stat.S_IFBLK | 0o600, os.makedev(8, 16))
    told = (folders.state / "environment").read_text()
    assert told == f'GEAR_ENV="--device-read-bps={device}:1000000 --env-file={folders.state}/env"\n'
    disk_of.return_value = ""
    assert prepare.main("ctr-web") == 0, "a machine that cannot: it starts, and its status tells"
    assert "device" not in (folders.state / "environment").read_text()


@pytest.mark.parametrize("held", [True, False])
def test_a_layer_is_bounded_where_the_engine_can(
    fake_host: FakeHost, folders: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, held: bool
) -> None:
    monkeypatch.setattr(prepare, "LAYERS", {"podman": str(tmp_path)})
    monkeypatch.setattr(prepare, "_find_geard", Mock())
    monkeypatch.setattr(disk_quotas.DiskQuotas, "holds_layers", Mock(return_value=held))
    definition = msgspec.structs.replace(PLAIN, limits=Limits(quota=8 << 20))
    with Changes() as changes:
        versions.write(folders, changes, definition, catalog.load(), fake_host.engine)
    assert prepare.main("ctr-web") == 0
    option = "--storage-opt=size=8388608 " if held else ""
    told = (folders.state / "environment").read_text()
    assert told == f'GEAR_ENV="{option}--env-file={folders.state}/env"\n'


def test_the_environment_is_laid_out_for_root_alone(fake_host: FakeHost, folders: Folders) -> None:
    with Changes() as changes:
        store.replace(fake_host.paths, changes, "web", {"A": "b"})
    assert lay_out(fake_host, folders)[0] == "A=b\n"
    assert (folders.state / "env").stat().st_mode & 0o777 == 0o600
    assert folders.state.stat().st_mode & 0o777 == 0o700


def test_what_the_last_start_left_is_gone(fake_host: FakeHost, folders: Folders) -> None:
    folders.state.mkdir(parents=True)
    for name in ("pid", "cid", "failure", "permanent"):
        (folders.state / name).touch()
    lay_out(fake_host, folders)
    assert sorted(path.name for path in folders.state.iterdir()) == ["engine", "env", "environment", "version"]


@pytest.mark.parametrize(
    "line", ["GEAR_ENVIRONMENT=other", "GEAR_ENVIRONMENT=../../../secret", "GEAR_VERSION=x", "GEAR_IMAGE=x"]
)
def test_a_word_of_the_command_is_no_line_of_the_definition(
    fake_host: FakeHost, folders: Folders, tmp_path: Path, line: str
) -> None:
    """A word may have lines; one of them must not be taken for what geard wrote (another's secrets, for one)."""
    (tmp_path / "secret").write_text("PASSWORD=swordfish\n")
    (fake_host.paths.base / "secret").write_text("PASSWORD=swordfish\n")
    with Changes() as changes:
        store.replace(fake_host.paths, changes, "other", {"PASSWORD": "swordfish"})
        changes.folder(fake_host.paths.base / "env/contents/..", 0o700)
    env, environment, version = lay_out(fake_host, folders, f"one\n{line}\n")
    assert "swordfish" not in env + environment
    assert version == PLAIN.version


def test_selinux_where_it_is_on(
    fake_host: FakeHost, folders: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    labelled = list[tuple[str, str]]()

    def label(path: str, context: str) -> None:
        labelled.append((path, context))

    monkeypatch.setattr(selinux, "label", label)
    monkeypatch.setattr(prepare, "SELINUX", str(tmp_path / "enforce"))
    (folders.data / "srv").mkdir(parents=True)
    definition = msgspec.structs.replace(PLAIN, level="s0:c3,c7")
    with Changes() as changes:
        versions.write(folders, changes, definition, catalog.load(), fake_host.engine)
    assert prepare.main("ctr-web") == 0
    assert "label" not in (folders.state / "environment").read_text() and not labelled, (
        "nothing of it where it is off"
    )
    (tmp_path / "enforce").write_text("1")
    assert prepare.main("ctr-web") == 0
    options = f'GEAR_ENV="--security-opt=label=level:s0:c3,c7 --env-file={folders.state}/env"\n'
    assert (folders.state / "environment").read_text() == options
    assert labelled == [(f"{folders.data}/srv", "system_u:object_r:container_file_t:s0:c3,c7")]


class ShortCut:
    """gear-prepare of a shell, on the folders of a test; what it calls for the rest says so and does nothing."""

    def __init__(self, host: FakeHost, folder: Path) -> None:
        self.rest, self.program = folder / "rest", folder / "gear-prepare"
        self.rest.write_text('#!/bin/sh\necho "the rest of $1"\n')
        self.rest.chmod(0o755)
        text = Path(prepare.__file__).with_suffix(".sh").read_text()
        for name, path in (
            ("base=/var/lib/containers", f"base={host.paths.base}"),
            ("run=/run/geard", f"run={host.paths.run}"),
            ("selinux=/sys/fs/selinux/enforce", f"selinux={folder}/enforce"),
            ("prepare=/usr/lib/geard/gear-prepare.py", f"prepare={self.rest}"),
        ):
            assert name in text
            text = text.replace(name, path)
        self.program.write_text(text)

    def __call__(self, name: str = "ctr-web") -> str:
        done = subprocess.run(["sh", self.program, name], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout


IMAGE = "ab" * 32


@pytest.fixture
def short_cut(fake_host: FakeHost, folders: Folders, tmp_path: Path) -> ShortCut:
    """All is as usual: a whole definition, whose image is here."""
    (fake_host.paths.run / "gears").mkdir()
    (fake_host.paths.base / "storage/overlay-images" / IMAGE).mkdir(parents=True)
    define(fake_host, folders)
    return ShortCut(fake_host, tmp_path)


def define(host: FakeHost, folders: Folders, **changed: Any) -> None:
    with Changes() as changes:
        definition = msgspec.structs.replace(PLAIN, image_id=IMAGE, **changed)
        versions.write(folders, changes, definition, catalog.load(), host.engine)


@pytest.mark.parametrize("command", [(), ("sh", "-c", 'GEAR_SECRETS=\nGEAR_VERSION="no"\n\\')])
def test_the_short_cut_leaves_the_same_as_the_whole_program(
    fake_host: FakeHost, folders: Folders, short_cut: ShortCut, command: tuple[str, ...]
) -> None:
    define(fake_host, folders, command=command)
    assert short_cut() == ""
    found = {path.name: (path.read_text(), path.stat().st_mode) for path in folders.state.iterdir()}
    assert folders.state.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(folders.state)
    assert prepare.main("ctr-web") == 0
    assert {path.name: (path.read_text(), path.stat().st_mode) for path in folders.state.iterdir()} == found


def test_the_short_cut_after_an_earlier_run(folders: Folders, short_cut: ShortCut) -> None:
    assert short_cut() == ""
    for name in ("pid", "cid", "failure", "permanent", "overridden", "links-pid"):
        (folders.state / name).touch()
    (folders.state / "env").write_text("A=b\n")
    (folders.state / "ended").write_text("result=success\n")
    assert short_cut() == ""
    left = sorted(path.name for path in folders.state.iterdir())
    assert left == ["ended", "engine", "env", "environment", "version"]
    assert (folders.state / "env").read_text() == ""


def test_after_a_run_that_lasted_earlier_restarts_are_forgiven(
    fake_host: FakeHost, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawned = Mock(return_value=77)
    monkeypatch.setattr(os, "posix_spawn", spawned)
    monkeypatch.setattr(os, "waitpid", Mock())
    lay_out(fake_host, folders)
    assert not spawned.called
    (folders.state / "forgive").touch()
    for _ in range(2):
        lay_out(fake_host, folders)
        assert spawned.call_args.args[1][-2:] == ["reset-failed", "ctr-web.service"]
    assert spawned.call_count == 1


def test_the_short_cut_leaves_alone_what_is_not_usual(
    fake_host: FakeHost, folders: Folders, short_cut: ShortCut
) -> None:
    rest = "the rest of ctr-web\n"
    base = fake_host.paths.base
    assert short_cut("ctr-absent") == "the rest of ctr-absent\n"
    unusual = (folders.state / "secrets", folders.state / "links", folders.state / "forgive")
    for path in (*unusual, fake_host.paths.run / "ports/ctr-web", folders.versions / "hook-owed"):
        path.mkdir(parents=True)
        assert short_cut() == rest, path
        path.rmdir()
    with Changes() as changes:
        store.replace(fake_host.paths, changes, "web", {"A": "b"})
    assert short_cut() == rest
    store.place(fake_host.paths, "web").unlink()
    for change in (
        {"parts": (SecretsPart(value=(SecretUse(name="db"),)),)},
        {"parts": (EnvironmentPart(value=Environment(id="shared")),)},
    ):
        (base / "env/contents/sh").mkdir(parents=True, exist_ok=True)
        (base / "env/contents/sh/shared").touch()
        define(fake_host, folders, **change)
        assert short_cut() == rest, change
    define(fake_host, folders)
    usual = folders.run.read_text()
    folders.run.write_text(usual.replace('GEAR_ENGINE="podman"', 'GEAR_ENGINE="docker"'))
    assert short_cut() == rest
    folders.run.write_text(usual)
    (base / "storage/overlay-images" / IMAGE).rmdir()
    assert short_cut() == rest
    (base / "storage/overlay-images" / IMAGE).mkdir()
    assert short_cut() == ""


def published(external: int, protocol: Protocol = "tcp", address: str = "") -> dict[str, Any]:
    pair = PortPair(internal=80, external=external, protocol=protocol, address=address)
    return {"parts": (PublishedPorts(value=(pair,)),)}


@pytest.mark.parametrize(("protocol", "address"), [("tcp", ""), ("tcp", "127.0.0.1"), ("udp", ""), ("tcp", "::1")])
def test_a_port_that_another_program_has(
    fake_host: FakeHost, folders: Folders, short_cut: ShortCut, protocol: Protocol, address: str
) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as other:
        other.bind((address or "127.0.0.1", 0))
        port = other.getsockname()[1]
        define(fake_host, folders, **published(port, protocol, address))
        if protocol == "tcp":
            assert short_cut() == "", "bound, it does not listen yet"
            shutil.rmtree(folders.state)
            other.listen()
        assert short_cut() == "the rest of ctr-web\n"
        assert prepare.main("ctr-web") == 1
        words = (folders.state / "failure").read_text()
        assert words.startswith(f"port {port}/{protocol} of this host is taken: ")
        assert f"(process {os.getpid()})" in words and "gear port web 80:NUMBER" in words
        if address == "127.0.0.1":
            define(fake_host, folders, **published(port, protocol, "127.0.0.2"))
            assert prepare.main("ctr-web") == 0, "another address"
        shutil.rmtree(folders.state)
    define(fake_host, folders, **published(port, protocol, address))
    assert short_cut() == ""


def shares(host: FakeHost, folders: Folders, monkeypatch: pytest.MonkeyPatch, **found: Any) -> int:
    """The start of a gear that shares alice (1000:1001), whom the host's name service now knows as `found`."""

    def look_up(name: str) -> Mock:
        if not found:
            raise KeyError(name)
        return Mock(**found)

    monkeypatch.setattr(pwd, "getpwnam", look_up)
    alice = HostUser(name="alice", uid=1000, gid=1001, inside=7)
    secrets = SecretsPart(value=(SecretUse(name="key"), SecretUse(name="key", path="/k", uid=7, gid=8)))
    with Changes() as changes:
        definition = msgspec.structs.replace(PLAIN, host_user=alice, parts=(secrets,))
        versions.write(folders, changes, definition, catalog.load(), host.engine)
    return prepare.main("ctr-web")


def test_a_shared_user_is_still_who_it_was(
    fake_host: FakeHost, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found in ({}, {"pw_uid": 1002, "pw_gid": 1001}, {"pw_uid": 1000, "pw_gid": 1000}):
        assert shares(fake_host, folders, monkeypatch, **found) == 1
        assert "alice" in (folders.state / "failure").read_text()


def test_a_shared_users_secrets_are_its_own(
    fake_host: FakeHost, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fake_host.paths.base / "secrets").mkdir()
    (fake_host.paths.base / "secrets/key").write_text("# geard: A B C\nvalue")
    owners = dict[str, tuple[int, int]]()

    def own(fd: int, uid: int, gid: int) -> None:
        owners[os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))] = (uid, gid)

    monkeypatch.setattr(os, "fchown", own)
    assert shares(fake_host, folders, monkeypatch, pw_uid=1000, pw_gid=1001) == 0
    base = PLAIN.uid or 0
    assert owners == {"0-key": (base, base), "1-key": (1000, base + 8), "versions": (0, 0)}
