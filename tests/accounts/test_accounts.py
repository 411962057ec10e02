"""A gear's user of the host: there with it, gone with it, and made again from what is on disk."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from unittest import mock

import pytest
from tests.fakes.terminal import Terminal, agent, terminal

from geard.accounts import facet, local_users, records
from geard.accounts.unit_hooks import accounts
from geard.containers.slots import FIRST_UID, RANGE
from geard.identifiers import login_name
from geard.setup.logins import with_records

LONG = "a-name-that-is-too-long-for-a-login"


def folder(gear: Terminal) -> Path:
    return gear.host.paths.run.parent / "userdb"


def names(gear: Terminal) -> list[str]:
    return sorted(os.listdir(folder(gear))) if folder(gear).exists() else []


def user(gear: Terminal, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder(gear) / f"{name}.user").read_text())
    return found


def facts(gear: Terminal, name: str) -> dict[str, str]:
    status = json.loads(gear.ok("status", "-o", "json", name))[0]
    return {fact["Label"]: fact["Text"] for fact in status["Facts"]}


@pytest.fixture
def boot(gear: Terminal, tmp_path: Path) -> Generator[None]:
    """The hook that a boot runs, on this host; users of the machine are those of a text file."""
    (tmp_path / "nsswitch.conf").write_text("passwd: files systemd\n")
    with (
        mock.patch.object(accounts, "BASE", str(gear.host.paths.base)),
        mock.patch.object(accounts, "RUN", str(gear.host.paths.run)),
        mock.patch.object(accounts, "RECORDS", str(folder(gear))),
        mock.patch.object(accounts, "ETC", str(tmp_path)),
        mock.patch.object(facet, "PASSWD", tmp_path / "passwd"),
    ):
        yield


def test_a_gear_has_a_user_as_long_as_it_is_there(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    found = user(gear, "ctr-web")
    uid = found["uid"]
    assert isinstance(uid, int) and uid >= FIRST_UID and (uid - FIRST_UID) % RANGE == 0
    assert (found["userName"], found["gid"], found["homeDirectory"]) == ("ctr-web", uid, "/")
    assert found["shell"] == records.SHELL
    assert user(gear, str(uid)) == found
    assert names(gear) == sorted([
        *(f"{uid}.geard", f"{uid}.group", f"{uid}.user"),
        *("ctr-web.group", "ctr-web.user", "ctr-web:geard-logins.membership"),
    ])  # fmt: skip
    assert (folder(gear) / "ctr-web.user").stat().st_mode & 0o777 == 0o644
    assert facts(gear, "web")["Login"] == f"ctr-web (uid {uid})"
    gear.ok("delete", "web")
    assert names(gear) == []


def test_asking_again_changes_nothing(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    before = {path.name: path.lstat().st_ino for path in folder(gear).iterdir()}
    gear.ok("install", "geard/sample", "web", "--memory", "64m")
    assert {path.name: path.lstat().st_ino for path in folder(gear).iterdir()} == before


def test_who_shares_the_hosts_users_has_none(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    gear.ok("install", "geard/sample", "web", "--simple")
    assert names(gear) == []
    assert facts(gear, "web")["Login"] == "none"
    gear.ok("rollback", "web")
    assert "ctr-web.user" in names(gear)


def test_a_long_name_has_a_login_of_its_own(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", LONG)
    login = login_name(LONG)
    assert login.startswith("ctr--") and user(gear, login)["realName"] == f"gear {LONG}"


@pytest.mark.usefixtures("boot")
def test_a_boot_makes_them_again(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    gear.ok("install", "geard/sample", LONG)
    gear.ok("install", "geard/sample", "all", "--simple")
    before = {name: (folder(gear) / name).read_text() for name in names(gear)}
    for name in names(gear):
        (folder(gear) / name).unlink()
    assert accounts.main() == 0
    assert {name: (folder(gear) / name).read_text() for name in names(gear)} == before
    assert accounts.main() == 0
    assert {name: (folder(gear) / name).read_text() for name in names(gear)} == before


@pytest.mark.usefixtures("boot")
def test_what_has_no_gear_goes_and_what_is_not_ours_stays(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    records.write(str(folder(gear)), "ctr-gone", FIRST_UID + 7 * RANGE, "gone")
    (folder(gear) / "ctr-admins.user").write_text('{"userName":"ctr-admins","uid":1234}')
    accounts.main()
    assert [name for name in names(gear) if name.endswith(".user") and not name[0].isdigit()] == [
        "ctr-admins.user",
        "ctr-web.user",
    ]
    assert not any(name.startswith(str(FIRST_UID + 7 * RANGE)) for name in names(gear))


@pytest.mark.usefixtures("boot")
def test_another_slot_is_another_user(gear: Terminal) -> None:
    """A record that a killed deletion left says other ids than the gear has that was made since."""
    gear.ok("install", "geard/sample", "web")
    uid = user(gear, "ctr-web")["uid"]
    records.write(str(folder(gear)), "ctr-web", FIRST_UID + 9 * RANGE, "web")
    accounts.main()
    assert user(gear, "ctr-web")["uid"] == uid
    assert not (folder(gear) / f"{FIRST_UID + 9 * RANGE}.user").exists()


@pytest.mark.usefixtures("boot")
def test_where_records_are_not_read_useradd_makes_them(gear: Terminal, tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def perform(argv: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        asked.append(argv)
        lines = (tmp_path / "passwd").read_text().splitlines()
        if argv[0].endswith("useradd"):
            uid = argv[argv.index("--uid") + 1]
            lines.append(f"{argv[-1]}:x:{uid}:{uid}::/:{records.SHELL}")
        else:
            lines = [line for line in lines if not line.startswith(argv[-1] + ":")]
        (tmp_path / "passwd").write_text("".join(f"{line}\n" for line in lines))
        return subprocess.CompletedProcess(argv, 0)

    (tmp_path / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nctr-admin:x:1000:1000::/:/bin/sh\n")
    (tmp_path / "nsswitch.conf").write_text("passwd: files  # not systemd\n")
    gear.ok("install", "geard/sample", "web")
    uid = user(gear, "ctr-web")["uid"]
    with mock.patch.object(subprocess, "run", perform):
        assert accounts.main() == 0
        gear.ok("install", "geard/sample", "Other.1")
        gear.ok("install", "geard/sample", "Other.1", "--memory", "64m")
        assert [(argv[0], argv[-1]) for argv in asked] == [
            ("/usr/sbin/useradd", "ctr-web"),
            ("/usr/sbin/useradd", "ctr-Other.1"),
        ]
        assert asked[0][asked[0].index("--uid") + 1] == str(uid)
        gear.ok("delete", "Other.1")
        assert asked[-1] == ["/usr/sbin/userdel", "--", "ctr-Other.1"]
        (tmp_path / "nsswitch.conf").write_text("passwd: files systemd\n")
        accounts.main()
        assert asked[-1] == ["/usr/sbin/userdel", "--", "ctr-web"]
    assert "ctr-admin" in (tmp_path / "passwd").read_text()


def test_nsswitch() -> None:
    assert local_users.records_are_read("passwd:  compat systemd\n")
    assert not local_users.records_are_read("group: systemd\npasswd: files # systemd\n")
    debian = "# a comment\npasswd:         files\ngroup:          files\nshadow: files\n\nhosts: files dns\n"
    switched = with_records(debian)
    assert switched == (
        "# a comment\npasswd:         files systemd\ngroup:          files systemd\nshadow: files systemd\n\n"
        "hosts: files dns\n"
    )
    assert with_records(switched) == switched
    assert with_records("passwd: files [NOTFOUND=return] ldap # x\n") == (
        "passwd: files systemd [NOTFOUND=return] ldap # x\ngroup: files systemd\nshadow: files systemd\n"
    )


def test_the_next_agent_makes_what_a_killed_install_did_not(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with terminal(tmp_path, "local") as gear:
        gear.ok("install", "geard/sample", "web")
        gear.ok("install", "geard/sample", "all", "--simple")
        before = {name: (folder(gear) / name).read_text() for name in names(gear)}
        for name in before:
            (folder(gear) / name).unlink()
        with agent(gear.host, tmp_path):
            end = time.monotonic() + 10
            while set(names(gear)) != set(before) and time.monotonic() < end:
                time.sleep(0.02)
        assert {name: (folder(gear) / name).read_text() for name in names(gear)} == before
