"""What is pushed is built once for each push, whoever looks, and no more when that is not wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from geard.builds import records, watching
from geard.builds.records import Folders
from geard.builds.requests import BuildImage
from geard.builds.watching import Watch
from geard.host.paths import Paths

ONE, TWO = "a" * 40, "b" * 40


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(base=tmp_path / "base", run=tmp_path / "run")
    (found.base / "git/shop/refs/heads").mkdir(parents=True)
    (found.base / "git/shop/HEAD").write_text("ref: refs/heads/main\n")
    return found


def push(paths: Paths, commit: str) -> None:
    (paths.base / "git/shop/refs/heads/main").write_text(f"{commit}\n")


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
    order = records.read_order(Folders.of(paths, "shop-bbbbbbbbbb"))
    assert order is not None and order.wish.source == f"repo://shop#{TWO}"


def test_cut_short_it_is_the_same_build(paths: Paths) -> None:
    watching.keep(paths, watch())
    push(paths, ONE)
    before = (paths.base / "builds/.pushes/shop.json").read_bytes()
    assert watching.begin(paths, "shop") == "shop-aaaaaaaaaa"
    (paths.base / "builds/.pushes/shop.json").write_bytes(before)  # killed before that was written
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
