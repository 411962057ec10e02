"""Which users of the host a gear may share, and what is written down of one."""

from __future__ import annotations

import pwd
from collections.abc import Mapping

import pytest
from tests.fakes.host import FakeHost
from tests.fakes.terminal import Terminal

from geard.containers import versions
from geard.containers.definition import HostUser
from geard.containers.folders import Folders
from geard.containers.host_users import parse_host_user, show_host_user
from geard.containers.shared_users import check_host_user, find_host_user
from geard.containers.slots import FIRST_UID, RANGE, SLOTS
from geard.failures import Invalid


@pytest.fixture(autouse=True)
def accounts(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, tuple[int, int]]:
    known = {"alice": (1000, 1001), "apps": (998, 998), "toor": (0, 5), "ctr-web": (FIRST_UID, FIRST_UID)}

    def look_up(name: str) -> pwd.struct_passwd:
        uid, gid = known[name]
        return pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/sh"))

    monkeypatch.setattr(pwd, "getpwnam", look_up)
    return known


def test_how_one_is_asked_for() -> None:
    assert parse_host_user("alice") == ("alice", 0)
    assert parse_host_user("www-data:33") == ("www-data", 33)
    for text in ("", "-", "alice:", ":0", "alice:-1", "a b", "a\n", "1000", "-x", "../x", "a:b:c", "a:65536"):
        with pytest.raises(Invalid):
            parse_host_user(text)


def test_what_is_found() -> None:
    found = find_host_user("alice:33", mapped=True)
    assert found == HostUser(name="alice", uid=1000, gid=1001, inside=33)
    assert show_host_user(found) == "alice:33" and show_host_user(None) == ""
    assert find_host_user("", mapped=True) is find_host_user("-", mapped=False) is None
    assert find_host_user("alice", mapped=False) == HostUser(name="alice", uid=1000, gid=1001)


@pytest.mark.parametrize(
    ("text", "says"),
    [("nosuch", "has no user nosuch"), ("toor", "is the host's root"), ("ctr-web", "is the user of a gear")],
)
def test_whom_it_cannot_be(text: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        find_host_user(text, mapped=True)


def test_docker_has_no_user_that_is_another_outside() -> None:
    with pytest.raises(Invalid, match="on Docker Engine"):
        find_host_user("alice:33", mapped=False)


@pytest.mark.parametrize(
    ("uid", "gid"),
    [
        (0, 1000), (1000, 0), (FIRST_UID, 1000), (1000, FIRST_UID + RANGE * SLOTS - 1),
        (65_534, 65_534), (4, 65_534), (61_184, 61_184), (65_519, 1000),
    ],
)  # fmt: skip
def test_ids_that_are_no_ones_to_share(uid: int, gid: int) -> None:
    with pytest.raises(Invalid):
        check_host_user("x", uid, gid)


def test_ids_that_are() -> None:
    for uid in (1, 33, 999, 1000, 60_000, FIRST_UID - RANGE - 1, FIRST_UID + RANGE * SLOTS):
        check_host_user("x", uid, uid)


def shared(gear: Terminal, host: FakeHost) -> str:
    return show_host_user(versions.require(Folders.of(host.paths, "web")).host_user)


def settle(host: FakeHost, text: str) -> None:
    host.paths.settings.mkdir(exist_ok=True)
    (host.paths.settings / "geard.toml").write_text(text)


def test_asked_changed_and_taken_back(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--host-user", "alice:7")
    assert shared(gear, gear.host) == "alice:7"
    gear.ok("update", "web", "--memory", "64m")
    assert shared(gear, gear.host) == "alice:7"
    assert "host-user    alice:7          asked" in gear.ok("cat", "web")
    gear.ok("update", "web", "--host-user", "apps")
    assert shared(gear, gear.host) == "apps"
    assert "host-user alice:7 -> apps" in gear.ok("history", "web")
    gear.ok("update", "web", "--host-user", "-")
    assert shared(gear, gear.host) == ""
    gear.ok("rollback", "web")
    assert shared(gear, gear.host) == "apps"


def test_a_setting_by_which_all_share_one(gear: Terminal) -> None:
    settle(gear.host, '[containers]\nhost-user = "apps"\n')
    gear.ok("install", "geard/sample", "web")
    assert shared(gear, gear.host) == "apps"
    for own in (["--isolate"], ["--host-user", "-"], ["--simple"]):
        gear.ok("install", "geard/sample", "web", *own)
        assert shared(gear, gear.host) == ""
        gear.ok("update", "web", "--memory", "64m")
        assert shared(gear, gear.host) == "", "it is what was asked for that stays"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host-user", "nosuch"], "this host has no user nosuch"),
        (["--host-user", "alice", "--simple"], "shares no single user"),
        (["--host-user", "alice", "--isolate"], "shares no single user"),
        (["--host-user", "alice:99999"], "users end at 65535"),
    ],
)
def test_what_is_refused(gear: Terminal, options: list[str], says: str) -> None:
    said = gear("install", "geard/sample", "web", *options)
    assert said.code == 64 and says in said.err


def test_a_wrong_setting_is_told(gear: Terminal) -> None:
    settle(gear.host, '[containers]\nhost-user = "a b"\n')
    assert "names no user" in gear("install", "geard/sample", "web").err
