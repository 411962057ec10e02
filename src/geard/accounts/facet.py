"""A gear's user comes with its definition and goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geard.accounts import local_users, records
from geard.facet import Facet, Gear
from geard.host import Host
from geard.host.storage import Changes, read_text
from geard.identifiers import login_name
from geard.words import Part

PASSWD = Path("/etc/passwd")


class AccountsFacet(Facet[Part]):
    def in_force(self, host: Host, gear: Gear, first_uid: int | None) -> None:
        if first_uid is None:
            _remove(host, gear)
            return
        login = login_name(gear.id)
        records.write(_folder(host), login, first_uid, gear.id)
        if _local(host) and login not in _local_logins():
            local_users.perform(local_users.add_argv(login, first_uid, gear.id))

    def show(self, host: Host, gear: Gear, settled: Part | None) -> Sequence[tuple[str, str]]:
        login = login_name(gear.id)
        uid = records.find(_folder(host), login)
        return [("Login", f"{login} (uid {uid})" if uid is not None else "none")]

    def release(self, host: Host, changes: Changes, gear: Gear, recorded: Sequence[Part], *, purge: bool) -> None:
        """Its ids stay reserved while files of its volumes are there (slots); who logs in is gone now."""
        _remove(host, gear)


def _remove(host: Host, gear: Gear) -> None:
    login = login_name(gear.id)
    records.remove(_folder(host), login)
    if _local(host) and login in _local_logins():
        local_users.perform(local_users.delete_argv(login))


def _folder(host: Host) -> str:
    return str(host.paths.run.parent / "userdb")


def _local(host: Host) -> bool:
    return (host.paths.run / local_users.MARK).exists()


def _local_logins() -> set[str]:
    return {user.login for user in local_users.ours(read_text(PASSWD) or "")}


facet = AccountsFacet()
