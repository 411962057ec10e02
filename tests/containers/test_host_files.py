"""Which files of the host a gear may use, by what the host says of their owner and mode."""

from __future__ import annotations

import os
import stat

import pytest

from geard.containers.definition import HostUser
from geard.containers.host_files import judge
from geard.containers.requests import VolumeMount

BASE = 2_000_000


def _status(mode: int, uid: int = 0, gid: int = 0) -> os.stat_result:
    return os.stat_result((stat.S_IFDIR | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))


def test_a_shared_user_has_what_is_its_own() -> None:
    alice, mount = HostUser(name="alice", uid=1000, gid=1001), VolumeMount(path="/srv/x", host_path="/x")
    for base in (BASE, None):
        assert judge(base, _status(0o700, 1000), mount, alice) == ""
        assert judge(base, _status(0o770, 0, 1001), mount, alice) == ""
        said = judge(base, _status(0o700, 1002), mount, alice)
        assert "may not read" in said and "alice (uid 1000)" in said and "chown -R 1000:1001 /srv/x" in said
    assert "its program is alice" in judge(None, _status(0o700, BASE), mount, alice)


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "read_only", "says"),
    [
        (0o700, 0, 0, False, "may not read"),
        (0o704, 0, 0, False, "may not read"),  # a folder that cannot be entered
        (0o755, 0, 0, False, "not write it"),
        (0o755, 0, 0, True, ""),
        (0o777, 0, 0, False, ""),
        (0o700, BASE, 0, False, ""),
        (0o700, BASE + 65_535, 0, False, ""),
        (0o700, BASE + 65_536, 0, False, "may not read"),
        (0o770, 0, BASE + 5, False, ""),
        (0o750, 0, BASE + 5, False, "not write it"),
    ],
)
def test_what_the_mode_allows(mode: int, uid: int, gid: int, read_only: bool, says: str) -> None:
    text = judge(BASE, _status(mode, uid, gid), VolumeMount(path="/srv/x", host_path="/x", read_only=read_only))
    assert says in text if says else text == ""
    if text:
        assert "/srv/x" in text and str(BASE) in text, "what it is about, and which uid would need access"


@pytest.mark.parametrize("path", ["/", "/etc", "/etc/ssl", "/usr/lib", "/var/lib", "/home", "/root/x"])
def test_nobody_is_told_to_give_the_machines_own_files_away(path: str) -> None:
    text = judge(BASE, _status(0o700), VolumeMount(path=path, host_path="/x"))
    assert "may not read" in text and "a folder made for it" in text
    assert "chown" not in text and "setfacl" not in text
    assert "chown -R" in judge(BASE, _status(0o700), VolumeMount(path="/srv/web", host_path="/x"))
