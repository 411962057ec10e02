"""Making, renaming, deleting, killed before every step and asked again: the same end, nothing lost or left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.host import FakeHost, make_host

from geard.accounts import records
from geard.accounts.repositories import uid_of
from geard.failures import AlreadyExists, NotFound
from geard.identifiers import repository_login
from geard.keys import store as keys
from geard.keys.public import parse_key
from geard.keys.requests import KeyedRepository
from geard.repositories import folders, webhooks
from geard.repositories.made import Made, filling

KEY = parse_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxbmPrEWBNGHIW0NKoxkMDLPaPOoBWE0E9oqGKMGYuI")
URL = "https://example.com/x"


class KilledError(BaseException):
    pass


@pytest.fixture(autouse=True)
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Files are given away by nobody but root: who has which inode, instead."""
    given: dict[int, int] = {}
    real = os.lstat

    def chown(path: Any, uid: int, gid: int) -> None:
        given[real(path).st_ino] = uid

    def lstat(path: Any, **options: Any) -> os.stat_result:
        found = real(path, **options)
        return os.stat_result((*found[:4], given.get(found.st_ino, found.st_uid), *found[5:10]))

    def owner(entry: os.DirEntry[str]) -> int:
        return given.get(entry.inode(), 0)

    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setattr(os, "lstat", lstat)
    monkeypatch.setattr(folders, "owner_of", owner)
    return given


def killed(monkeypatch: pytest.MonkeyPatch, deed: Callable[[], object]) -> Iterator[bool]:
    """`deed`, killed before its first change to the disk, its second, …; whether it was, until it was not."""
    for steps in range(500):
        left, names = steps, ("unlink", "rmdir", "rename", "symlink", "link", "mkdir", "chown", "chmod")

        def guard(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:  # and all that a killed one would tidy up fails as well
                    raise KilledError
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(os, name, guard(getattr(os, name)))
            try:
                deed()
            except KilledError:
                dead = True
            else:
                dead = False
        yield dead
        if not dead:
            return
    raise AssertionError("it has no end")


def host_of(folder: Path, *ids: str) -> FakeHost:
    host = make_host(folder)
    for id in ids:
        folders.create(host, id, "main", Made(f"made-{id}"))
        keys.add(host.paths, [KEY], (), [KeyedRepository(id=id, write=True)])
    return host


def check_whole(host: FakeHost, *ids: str) -> None:
    """What must be so of the repositories, and that there is nothing else."""
    paths, users = host.paths, host.paths.run.parent / "userdb"
    assert folders.listed(paths) == sorted(ids)
    assert [name for name in os.listdir(folders.folder(paths)) if name.startswith((".new", ".gone"))] == []
    numbers = {id: folders.number(paths, id) for id in ids}
    assert len(set(numbers.values())) == len(ids)
    for id, number in numbers.items():
        assert folders.of_uid(paths, uid_of(number)) == id
        assert records.find(str(users), repository_login(id)) == uid_of(number)
        assert (folders.path(paths, id) / "HEAD").read_text() == "ref: refs/heads/main\n"
    assert records.listed(str(users)) == sorted(map(repository_login, ids))
    names = {name for name in os.listdir(folders.users_folder(paths)) if name[0].isdigit()}
    assert {name.partition(".")[0] for name in names} == {str(number) for number in numbers.values()}


def opened(host: FakeHost, id: str) -> bool:
    return keys.may_write(host.paths, id, KEY.id) is True


def test_making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_of(tmp_path, "other")
    for dead in killed(monkeypatch, lambda: folders.create(host, "shop", "main", Made("this", URL))):
        for id in folders.listed(host.paths):  # what is there by its name is there with all
            assert records.find(str(host.paths.run.parent / "userdb"), repository_login(id)), id
        folders.create(host, "shop", "main", Made("this", URL))
        check_whole(host, "other", "shop")
        folders.create(host, "shop", "main", Made("another", URL))  # it waits to be filled still
        for stranger in (Made("another"), Made("another", "https://example.com/y")):
            with pytest.raises(AlreadyExists):
                folders.create(host, "shop", "main", stranger)
        assert not opened(host, "shop") and opened(host, "other")
        if dead:
            folders.put_aside(host, "shop")
            folders.clear(host)
    check_whole(host, "other", "shop")


def test_what_a_killed_making_left_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes next, or the agent's start, tidies up."""
    host = host_of(tmp_path, "other")
    for _ in killed(monkeypatch, lambda: folders.create(host, "shop", "main", Made("this"))):
        folders.clear(host)
        check_whole(host, *folders.listed(host.paths))
        folders.put_aside(host, "shop")
        folders.clear(host)
    check_whole(host, "other")


@pytest.mark.parametrize("again", ["asked again", "tidied up", "another is made"])
def test_renaming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str) -> None:
    """Its keys, and who is told of pushes, go along; and are never those of another."""
    host = host_of(tmp_path, "shop")
    webhooks.set_(host, "shop", URL)
    for _ in killed(monkeypatch, lambda: folders.rename(host, "shop", "store")):
        if again == "asked again":
            try:
                folders.rename(host, "shop", "store")
            except NotFound:
                assert folders.listed(host.paths) == ["store"]  # it had been done
        elif again == "tidied up":
            folders.clear(host)
            assert not [name for name in os.listdir(folders.users_folder(host.paths)) if name.endswith(".tmp")]
        else:
            folders.create(host, "x1", "main", Made("x1"))
            assert not opened(host, "x1")
            folders.put_aside(host, "x1")
            folders.clear(host)
        (id,) = folders.listed(host.paths)
        check_whole(host, id)
        assert opened(host, id) and webhooks.of(host.paths, id) == URL
        for name in {"shop", "store"} - {id}:
            assert keys.may_write(host.paths, name, KEY.id) is None
        if id == "store":
            folders.rename(host, "store", "shop")
    assert folders.listed(host.paths) == ["shop"]


def test_deleting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_of(tmp_path, "shop", "other")

    def delete() -> None:
        folders.put_aside(host, "shop")
        folders.clear(host)

    for _ in killed(monkeypatch, delete):
        delete()
        check_whole(host, "other")
        assert not opened(host, "shop") and opened(host, "other")
        folders.create(host, "shop", "main", Made("shop"))
        assert not opened(host, "shop")
        keys.add(host.paths, [KEY], (), [KeyedRepository(id="shop", write=True)])
        webhooks.set_(host, "shop", URL)
    check_whole(host, "other", "shop")


async def test_filling_is_done_once(tmp_path: Path) -> None:
    host = host_of(tmp_path)
    folders.create(host, "shop", "main", Made("this", URL))
    path = folders.made_path(host.paths, folders.number(host.paths, "shop"))

    async def broken_off() -> None:
        async with filling(path) as wanted:
            assert wanted
            raise KilledError

    with pytest.raises(KilledError):
        await broken_off()
    for expected in (True, False):
        async with filling(path) as wanted:
            assert wanted is expected
    assert Made.read(path) == Made("this")
    path.unlink()
    async with filling(path) as wanted:
        assert not wanted
