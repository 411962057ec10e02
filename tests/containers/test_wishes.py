"""What may be asked of a gear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.engine import FakeEngine
from tests.fakes.host import FakeHost

from geard import catalog
from geard.containers.limits import LEAST_MEMORY
from geard.containers.requests import InstallContainer, Limits, Volume, VolumeConfig, VolumeMount
from geard.containers.settings import Allowances
from geard.containers.sizes import parse_size, show_size
from geard.containers.volumes import volume_folder
from geard.containers.wishes import (
    STOP_LIMIT,
    check_path,
    check_sources,
    check_user,
    check_wish,
)
from geard.dispatch.dispatcher import Dispatcher
from geard.failures import Denied, Failure, Invalid
from geard.request import ROOT_HERE, Asker

OPERATOR = Asker("operator", frozenset(("read", "operate")), 1000)


def wish(**more: Any) -> InstallContainer:
    given: dict[str, Any] = {"id": "web", "image": "nginx", **more}
    return InstallContainer(**given)


def volumes(*paths: str) -> VolumeConfig:
    return VolumeConfig(volumes=tuple(Volume(path=path) for path in paths))


def mount(source: str, target: str) -> VolumeConfig:
    return VolumeConfig(volume_mounts=(VolumeMount(path=source, host_path=target),))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"id": "my-sample-service.1", "image": "registry:5000/a/b:c"},
        {"isolate": True},
        {"simple": True},
        {"host_user": "alice"},
        {"host_user": "www-data:33"},
        {"host_user": "-", "isolate": True},
        {"systemd_slice": "container-large.slice"},
        {"systemd_slice": "container"},
        {"stop_timeout": 0},
        {"stop_timeout": STOP_LIMIT},
        {"limits": Limits(memory=0, cpus=0, pids=0)},
        {"limits": Limits(memory=LEAST_MEMORY, cpus=0.5, pids=1)},
        {"limits": Limits(memory=LEAST_MEMORY, memory_swap=LEAST_MEMORY, cpus=0.01)},
        {"limits": Limits(memory_swap=0)},
        {"command": ("a", "", "\n", "ü")},
        {"labels": {"a": "", "a.b/c-d_e": "x\ny"}},
        {"volume_config": volumes("/data", "/data/sub", "/var/lib/my-data")},
        {"volume_config": mount("/", "/host")},
        {"volume_config": mount("/a b", "/c:d")},
    ],
)
def test_it_may_be_asked(more: dict[str, Any]) -> None:
    check_wish(wish(**more), ROOT_HERE)


@pytest.mark.parametrize(
    "more",
    [
        {"id": "a"},
        {"id": "../x"},
        {"image": ""},
        {"image": "--help"},
        {"image": "NGINX"},
        {"id": "nginx"},
        {"simple": True, "isolate": True},
        {"host_user": "alice", "simple": True},
        {"host_user": "alice", "isolate": True},
        {"host_user": "alice\nExecStart=/bin/sh"},
        {"host_user": "0"},
        {"systemd_slice": "system"},
        {"systemd_slice": "container-small.slice.slice"},
        {"systemd_slice": "../x"},
        {"stop_timeout": -1},
        {"stop_timeout": STOP_LIMIT + 1},
        {"limits": Limits(memory=-1)},
        {"limits": Limits(memory=LEAST_MEMORY - 1)},
        {"limits": Limits(memory_swap=-1)},
        {"limits": Limits(cpus=0.001)},
        {"limits": Limits(memory=10**40)},
        {"limits": Limits(cpus=-0.1)},
        {"limits": Limits(cpus=float("nan"))},
        {"limits": Limits(cpus=float("inf"))},
        {"limits": Limits(cpus=5_000)},
        {"limits": Limits(pids=-1)},
        {"command": ("a\0b",)},
        {"command": ("\ud800",)},
        {"entrypoint": ("\ufffe",)},
        {"labels": {"": "x"}},
        {"labels": {"a b": "x"}},
        {"labels": {"a=b": "x"}},
        {"labels": {"-a": "x"}},
        {"labels": {"a": "\0"}},
        {"labels": {"a" * 257: "x"}},
        {"volume_config": volumes("/")},
        {"volume_config": volumes("/a", "/a")},
        {"volume_config": volumes("relative")},
        {"volume_config": volumes("/a/../b")},
        {"volume_config": mount("/a", "")},
        {"volume_config": mount("a", "/b")},
        {"volume_config": mount("/a/..", "/b")},
        {"volume_config": mount("/a", "/")},
    ],
)
def test_it_cannot_be(more: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        check_wish(wish(**more), ROOT_HERE)


def test_what_gives_the_host_away_takes_the_scope_admin() -> None:
    for more in ({"simple": True}, {"host_user": "alice"}, {"volume_config": mount("/etc", "/etc")}):
        with pytest.raises(Denied):
            check_wish(wish(**more), OPERATOR)
    check_wish(wish(host_user="-"), OPERATOR)
    check_wish(wish(host_user="alice:7"), OPERATOR, Allowances(host_users=("alice",)))
    check_wish(wish(volume_config=volumes("/data")), OPERATOR)


def test_what_is_to_be_mounted_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for path in (tmp_path / "none", tmp_path / "link"):
        with pytest.raises(Invalid, match="there is no"):
            check_sources(wish(volume_config=mount(str(path), "/b")))
    (tmp_path / "gone").touch()
    check_sources(wish(volume_config=mount(str(tmp_path / "link"), "/b")))


@pytest.mark.parametrize("user", ["65536", "0:65536", "worker:70000", "99999999999999999999"])
def test_a_user_that_no_gear_has(user: str) -> None:
    with pytest.raises(Invalid, match="end at 65535"):
        check_user(user, simple=False)
    check_user(user, simple=True)


def test_users_that_a_gear_may_have() -> None:
    for user in ("", "0", "65535:65535", "worker", "worker:root", "٣٣٣٣٣٣"):
        check_user(user, simple=False)


@pytest.mark.parametrize(
    "path",
    ["", "a", "a/b", "//a", "/a//b", "/a/", "/a/./b", "/./a", "/..", "/a/..", "/a\nb", "/a\0b",
     "/\ud800", "/" + "a" * 201,
     "/" + "/".join(["a" * 100] * 41)],
)  # fmt: skip
def test_no_path(path: str) -> None:
    with pytest.raises(Invalid):
        check_path(path, "here")


@given(st.text(max_size=300).map(lambda text: f"/{text}"))
def test_a_path_that_may_be_asked_makes_a_folder_that_can_be(path: str) -> None:
    try:
        check_wish(wish(volume_config=volumes(path)), ROOT_HERE)
    except Failure:
        return
    # make_volumes fills a draft beside it first
    assert len(f".{volume_folder(path)}.new".encode()) <= 255


def test_a_long_path_of_a_volume_makes_a_folder_that_can_be() -> None:
    for path in ("/" + "-" * 200, "/" + "/".join(["abcdefghi"] * 40)):
        try:
            check_wish(wish(volume_config=volumes(path)), ROOT_HERE)
        except Invalid:
            continue
        assert len(f".{volume_folder(path)}.new".encode()) <= 255, path


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1", 1), ("512m", 512 << 20), ("512M", 512 << 20), ("64MiB", 64 << 20), ("64mb", 64 << 20),
     ("1.5G", 3 << 29),
     ("2 g", 2 << 30), ("1t", 1 << 40), ("100b", 100), (" 8k ", 8192)],
)  # fmt: skip
def test_a_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "m", "-1", "1x", "1.m", ".5g", "1e3", "1,5g", "١m", "0x10", "1 2", "inf", "nan", "1mm"]
)
def test_no_size(text: str) -> None:
    with pytest.raises(Invalid):
        parse_size(text)


@given(st.integers(0, 1 << 52))
def test_every_number_of_bytes_is_read_exactly(size: int) -> None:
    assert parse_size(str(size)) == size


@given(st.integers(1, 1 << 42))
def test_a_size_that_is_shown_is_right_to_a_tenth(size: int) -> None:
    assert abs(parse_size(show_size(size)) - size) <= max(size // 10, 0)


async def test_an_engine_without_users_of_a_gears_own_is_the_admins_choice(fake_host: FakeHost) -> None:
    docker = FakeEngine()
    docker.name, docker.maps_users = "docker", False
    host = FakeHost(fake_host.paths, fake_host.systemd, {**fake_host.engines, "docker": docker}, fake_host.journal)
    dispatcher = Dispatcher(host, catalog.load())
    network = host.paths.base / "network"
    network.write_text(network.read_text() + "docker-ipv4 10.184.0.0/16\n")
    asked = InstallContainer(id="web", image="geard/sample", engine="docker")
    with pytest.raises(Denied, match="shares the host's users"):
        await dispatcher.perform(asked, OPERATOR).answer()
    settings = host.paths.settings / "geard.toml"
    for text in ('[engine]\ndefault = "docker"\n', "[allow]\nsimple = true\n"):
        settings.write_text(text)
        await dispatcher.perform(asked, OPERATOR).answer()
    await dispatcher.drain()
