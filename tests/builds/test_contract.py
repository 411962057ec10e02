"""Scripts, strategies and plans: what source-to-image's contract says, decided from plain values."""

from __future__ import annotations

import msgspec
import pytest

from geard.builds.by_containerfile import images_named
from geard.builds.plan import Facts, make_plan
from geard.builds.requests import BuildImage
from geard.builds.scripts import (
    ImageConfig,
    Script,
    ScriptsAt,
    check_assemble,
    choose,
    find_strategy,
    parse_artifacts,
    parse_scripts_url,
)
from geard.builds.watching import Watch, wish_for
from geard.failures import Invalid, NotFound


def test_scripts_are_taken_from_the_first_place_that_has_them() -> None:
    found = choose([
        ("asked", ["assemble"], "/tmp/scripts"),
        ("source", ["assemble", "run"], "/tmp/scripts"),
        ("image", ["assemble", "run", "usage"], "/usr/libexec/s2i"),
    ])  # fmt: skip
    assert {name: script.origin for name, script in found.items()} == {
        "assemble": "asked", "run": "source", "usage": "image",
    }  # fmt: skip
    assert found["usage"].path == "/usr/libexec/s2i/usage" and found["usage"].inside and not found["run"].inside


def test_without_assemble_nothing_is_built() -> None:
    with pytest.raises(NotFound, match="no assemble script for a/b"):
        check_assemble({}, "a/b", "")


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({"Labels": {"io.openshift.s2i.scripts-url": "image:///a"}, "Env": ["STI_SCRIPTS_URL=b"]}, "image:///a"),
        ({"Env": ["STI_SCRIPTS_URL=http://x/?a=b"]}, "http://x/?a=b"),
        ({"Env": ["S2I_SCRIPTS_URL=image:///c"]}, "image:///c"),
        ({"Env": None, "Labels": None}, ""),
    ],
)
def test_where_an_image_says_its_scripts_are(config: dict[str, object], url: str) -> None:
    assert ImageConfig.read(config).scripts_url == url


def test_places_of_scripts() -> None:
    assert parse_scripts_url("image:///usr/libexec/s2i/") == ScriptsAt("image", "/usr/libexec/s2i")
    assert parse_scripts_url("file:///srv/s").way == "file"
    assert parse_scripts_url("https://x.org/s/") == ScriptsAt("http", "https://x.org/s")
    for wrong in ("ftp://x/y", "image://../x", "x", "file:///a/../b"):
        with pytest.raises(Invalid):
            parse_scripts_url(wrong)


def test_strategy() -> None:
    assert find_strategy(["Dockerfile", "a"]) == find_strategy(["Containerfile"]) == "containerfile"
    assert find_strategy(["Dockerfile"], "source") == find_strategy([]) == "source"
    with pytest.raises(Invalid):
        find_strategy([], "x")


ASSEMBLE = Script("assemble", "image", "/x/assemble")
SAVE = Script("save-artifacts", "image", "/x/save-artifacts")


@pytest.mark.parametrize(
    ("scripts", "previous", "clean", "incremental", "why"),
    [
        ((ASSEMBLE, SAVE), True, False, True, ""),
        ((ASSEMBLE, SAVE), True, True, False, "clean"),
        ((ASSEMBLE, SAVE), False, False, False, "no image of that tag"),
        ((ASSEMBLE,), True, False, False, "no save-artifacts"),
    ],
)
def test_incremental(
    scripts: tuple[Script, ...], previous: bool, clean: bool, incremental: bool, why: str
) -> None:
    facts = Facts("source", {s.name: s for s in scripts}, previous, clean, runtime=False, start=False)
    plan = make_plan(facts)
    assert plan.incremental is incremental and why in plan.why_clean


def test_plans() -> None:
    facts = Facts("source", {"assemble": ASSEMBLE}, previous=False, clean=False, runtime=True, start=True)
    assert make_plan(facts).steps == (
        "fetch", "images", "scripts", "assemble", "assemble-runtime", "commit", "start",
    )  # fmt: skip
    file = Facts("containerfile", {}, previous=True, clean=False, runtime=False, start=False)
    assert make_plan(file).steps == ("fetch", "images", "build", "commit")


def test_artifacts() -> None:
    assert parse_artifacts("/out/program:bin;/srv") == [("/out/program", "bin"), ("/srv", ".")]
    for wrong in ("out:bin", "/a/../b:c", "/a:../b", "/a:/b"):
        with pytest.raises(Invalid):
            parse_artifacts(wrong)


def test_images_of_a_containerfile() -> None:
    text = "FROM --platform=x a/b AS one\nRUN x\nfrom one\nFROM \\\n c:1\nFROM scratch\nFROM $X\n"
    assert images_named(text) == ["a/b", "c:1"]


def test_one_push_is_one_request() -> None:
    watch = Watch(
        repository="shop", wish=BuildImage(source="repo://shop", tag="shop", base_image="a/b"), since="x"
    )
    one, wish = wish_for(watch, "a" * 40)
    assert wish.source == f"repo://shop#{'a' * 40}" and wish.name == "shop-aaaaaaaaaa" and len(one) == 22
    assert wish_for(watch, "a" * 40)[0] == one != wish_for(watch, "b" * 40)[0]
    again = msgspec.structs.replace(watch, count=2)  # a branch that came back to a commit
    assert wish_for(again, "a" * 40)[0] != one
