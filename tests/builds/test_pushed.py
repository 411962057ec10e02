"""What is pushed is built once for each push, whoever looks, and no more when that is not wanted."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.fakes.host import FakeHost
from tests.repositories import test_killed
from tests.repositories.test_killed import host_of, killed

from geard.builds import records, watching
from geard.builds.records import Folders
from geard.builds.requests import BuildImage
from geard.builds.watching import Watch
from geard.failures import NotFound
from geard.host.paths import Paths
from geard.repositories import folders
from geard.repositories.made import Made
from geard.words import encode

owners = test_killed.owners
ONE, TWO = "a" * 40, "b" * 40


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return host_of(tmp_path, "shop")


@pytest.fixture
def paths(host: FakeHost) -> Paths:
    return host.paths


def push(paths: Paths, commit: str, to: str = "shop") -> None:
    (paths.base / f"git/{to}/refs/heads/main").write_text(f"{commit}\n")


def order(paths: Paths, of: str = "shop") -> Path:
    return paths.base / f"git-users/{folders.number(paths, of)}.build"


def watch(tag: str = "shop", since: str = "first") -> Watch:
    wish = BuildImage(source="repo://shop", tag=tag, base_image="a/b")
    return Watch(repository="shop", wish=wish, since=since)


def test_each_push_is_built_once(paths: Paths) -> None:
    watching.keep(paths, watch())
    assert watching.begin(paths, "shop") == ""  # nothing is there yet
    push(paths, ONE)
    assert watching.begin(paths, "shop") == "shop-aaaaaaaaaa"
    assert watching.begin(paths, "shop") == ""
    push(paths, TWO)
    assert watching.begin(paths, "shop") == "shop-bbbbbbbbbb"
    push(paths, ONE)  # back again, which is a push as any other
    assert watching.begin(paths, "shop") == "shop-aaaaaaaaaa-2"
    assert records.listed(paths) == ["shop-aaaaaaaaaa", "shop-aaaaaaaaaa-2", "shop-bbbbbbbbbb"]
    made = records.read_order(Folders.of(paths, "shop-bbbbbbbbbb"))
    assert made is not None and made.wish.source == f"repo://shop#{TWO}"


def test_cut_short_it_is_the_same_build(paths: Paths) -> None:
    watching.keep(paths, watch())
    push(paths, ONE)
    before = order(paths).read_bytes()
    assert watching.begin(paths, "shop") == "shop-aaaaaaaaaa"
    order(paths).write_bytes(before)  # killed before that was written
    assert watching.begin(paths, "shop") == "shop-aaaaaaaaaa"
    assert records.listed(paths) == ["shop-aaaaaaaaaa"]


def test_asked_again_it_goes_on_and_changed_it_begins_anew(paths: Paths) -> None:
    watching.keep(paths, watch())
    push(paths, ONE)
    watching.begin(paths, "shop")
    watching.keep(paths, watch(since="second"))
    assert watching.begin(paths, "shop") == ""
    watching.keep(paths, watch(tag="other", since="third"))
    assert watching.begin(paths, "shop") == "shop-aaaaaaaaaa-2"
    assert watching.remove(paths, "shop") and not watching.remove(paths, "shop")
    push(paths, TWO)
    assert watching.begin(paths, "shop") == "" and watching.watches(paths) == []


def test_it_goes_along_with_a_new_name(host: FakeHost, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """However a renaming is cut short; and one that takes the old name is not built."""
    watching.keep(paths, watch())
    push(paths, ONE)
    watching.begin(paths, "shop")
    for _ in killed(monkeypatch, lambda: folders.rename(host, "shop", "store")):
        (found,) = watching.watches(paths)
        assert [found.repository] == folders.listed(paths) and found.built == ONE
        if found.repository == "store":
            folders.clear(host)
            folders.rename(host, "store", "shop")
    folders.rename(host, "shop", "store")
    folders.create(host, "shop", "main", Made("another"))
    push(paths, TWO)
    assert watching.begin(paths, "shop") == ""
    assert [each.repository for each in watching.watches(paths)] == ["store"]
    push(paths, TWO, to="store")
    assert watching.begin(paths, "store") == "store-bbbbbbbbbb"
    made = records.read_order(Folders.of(paths, "store-bbbbbbbbbb"))
    assert made is not None and made.wish.source == f"repo://store#{TWO}"
    # The same, asked by the new name, is the same.
    watching.keep(
        paths, Watch(repository="store", wish=replace(watch().wish, source="repo://store"), since="again")
    )
    assert watching.begin(paths, "store") == ""


def test_it_ends_with_the_repository(host: FakeHost, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """However a deletion is cut short: one that takes the name, or the number, has not asked for it."""

    def delete() -> None:
        folders.put_aside(host, "shop")
        folders.clear(host)

    for _ in killed(monkeypatch, delete):
        for id in ("shop", "other"):
            delete()
            (paths.base / "git-users/next").unlink()  # the next one is given the same number
            folders.create(host, id, "main", Made(id))
            push(paths, ONE, to=id)
            assert watching.watches(paths) == [] and watching.begin(paths, id) == ""
            if id == "other":
                folders.rename(host, "other", "shop")
        watching.keep(paths, watch())
    assert not watching.remove(paths, "nosuch")
    with pytest.raises(NotFound):
        watching.keep(paths, Watch(repository="nosuch", wish=watch().wish))


def test_orders_kept_by_name_are_taken_over(paths: Paths) -> None:
    """By those of versions before: of a repository that is there, once; of one that is gone, never."""
    earlier = paths.base / "builds/.pushes"
    earlier.mkdir(parents=True)
    for name in ("shop", "gone"):
        kept = Watch(repository=name, wish=replace(watch().wish, source=f"repo://{name}"), since="x", built=ONE)
        (earlier / f"{name}.json").write_bytes(encode(kept))
    (found,) = watching.watches(paths)
    assert (found.repository, found.built, found.since) == ("shop", ONE, "x")
    assert order(paths).stat().st_mode & 0o777 == 0o600 and not earlier.exists()
    push(paths, ONE)
    assert watching.begin(paths, "shop") == ""
    push(paths, TWO)
    assert watching.begin(paths, "shop") == "shop-bbbbbbbbbb"
    # What was killed between: the newer one stays.
    earlier.mkdir()
    (earlier / "shop.json").write_bytes(encode(watch(tag="older")))
    (found,) = watching.watches(paths)
    assert (found.wish.tag, found.built) == ("shop", TWO) and not earlier.exists()


def test_where_there_are_no_repositories_nothing_is_made(tmp_path: Path) -> None:
    found = Paths(base=tmp_path / "base", run=tmp_path / "run")
    (found.base / "builds/.pushes").mkdir(parents=True)
    (found.base / "builds/.pushes/shop.json").write_text("{}")
    assert watching.watches(found) == []
    assert [path.name for path in found.base.rglob("*")] == ["builds"]
