"""What is here, what needs it, and what may go."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.engine import make_image
from tests.fakes.terminal import Terminal

from geard.host.engine import StoredImage
from geard.images.pruning import noted_anew, plan_prune
from geard.images.sizes import show_age, show_bytes
from geard.images.uses import Need, Uses, uses_of

OLD = "docker.io/geard/old:latest"
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def _long_ago(gear: Terminal, image: str) -> None:
    state = gear.host.paths.state
    state.mkdir(exist_ok=True)
    then = (datetime.now(UTC) - timedelta(days=40)).isoformat()
    (state / "images-unused").write_text(json.dumps({"podman": {image: then}}))


def test_the_list_says_who_uses_what(gear: Terminal) -> None:
    gear.ok("pull", "geard/sample")
    gear.ok("install", "geard/sample", "web")
    gear.host.engine.registry["docker.io/geard/other:latest"] = make_image("docker.io/geard/other")
    gear.ok("update", "web", "--image", "geard/other")
    rows = {row["Names"][0]: row for row in json.loads(gear.ok("images", "-o", "json"))}
    assert rows["docker.io/geard/other:latest"]["UsedBy"] == ["web"]
    (kept,) = rows["docker.io/geard/sample:latest"]["KeptFor"]
    assert kept.startswith("web@")
    assert "web (1 earlier)" in gear.ok("images")
    assert gear.ok("images", "-o", "name").split() == sorted(rows)


def test_what_a_gear_or_a_kept_version_needs_is_never_pruned(gear: Terminal) -> None:
    gear.ok("pull", "geard/sample")
    gear.ok("install", "geard/sample", "web")
    gear.host.engine.registry["docker.io/geard/other:latest"] = make_image("docker.io/geard/other")
    gear.ok("update", "web", "--image", "geard/other")
    assert gear.ok("prune", "--days", "0") == "Nothing to remove\n"
    gear.ok("delete", "--purge", "web")
    would = gear.ok("prune", "--days", "0", "--dry-run")
    assert would.count("Would remove") == 2
    assert len(gear.host.engine.here) == 2
    assert gear.ok("prune", "--days", "0").count("Removed") == 2
    assert gear.host.engine.here == []


def test_an_unused_image_stays_for_its_days(gear: Terminal) -> None:
    image = make_image(OLD)
    gear.host.engine.here.append(image)
    assert "1 more without a use, not for long enough" in gear.ok("prune")
    assert json.loads(gear.ok("images", "-o", "json"))[0]["UnusedSince"]
    _long_ago(gear, image.id)
    assert "Removed docker.io/geard/old" in gear.ok("prune")


def test_an_image_that_is_used_again_begins_anew(gear: Terminal) -> None:
    gear.ok("pull", "geard/sample")
    _long_ago(gear, gear.host.engine.here[0].id)
    gear.ok("install", "geard/sample", "web")
    gear.ok("prune")
    gear.ok("delete", "--purge", "web")
    assert "not for long enough" in gear.ok("prune")


def test_what_a_container_is_made_of_and_what_the_admin_keeps_stays(gear: Terminal) -> None:
    image, kept = make_image(OLD), make_image("docker.io/acme/base:1")
    gear.host.engine.here += [image, kept]
    gear.host.engine.containers[image.id] = ["somebodys"]
    (gear.host.paths.settings / "geard.toml").write_text('[images]\nkeep = ["docker.io/acme/*"]\n')
    assert gear.ok("prune", "--days", "0") == "Nothing to remove\n"
    assert "somebodys" in gear.ok("images")


def test_a_gear_whose_image_is_not_settled_keeps_what_bears_its_name(gear: Terminal) -> None:
    gear.ok("pull", "geard/sample")
    gear.ok("install", "geard/sample", "web")
    (run,) = (gear.host.paths.base / "units").glob("*/ctr-web.run")
    text = run.read_text()
    image = json.loads(text.partition("\n")[0].removeprefix("# geard: "))["ImageId"]
    run.write_text(text.replace(f'"ImageId":"{image}"', '"ImageId":""', 1))
    assert gear.ok("prune", "--days", "0") == "Nothing to remove\n"


def test_a_damaged_note_begins_anew(gear: Terminal) -> None:
    gear.host.engine.here.append(make_image(OLD))
    gear.host.paths.state.mkdir(exist_ok=True)
    for text in ("{", "[]", '{"podman": 1}', '{"podman": {"x": "yesterday"}}'):
        (gear.host.paths.state / "images-unused").write_text(text)
        assert "not for long enough" in gear.ok("prune")


@pytest.mark.parametrize("words", [("-1",), ("40000",), ("x",)])
def test_no_number_of_days(gear: Terminal, words: tuple[str, ...]) -> None:
    assert gear("prune", "--days", *words).code == 64


def test_a_name_more_and_the_last_name_less(gear: Terminal) -> None:
    gear.ok("pull", "geard/sample")
    assert "docker.io/my/name:latest" in gear.ok("tag", "geard/sample", "my/name")
    gear.ok("install", "geard/sample", "web")
    gear.ok("remove-image", "my/name")
    refused = gear("remove-image", "geard/sample")
    assert refused.code == 6
    assert "web needs it" in refused.err and "--force" in refused.err
    gear.ok("remove-image", "geard/sample", "--force")
    assert gear.host.engine.here == []
    assert "was not there" in gear.ok("remove-image", "geard/sample")


@pytest.mark.parametrize("name", ["../x", "a b", "-x", "Nginx", "a@sha256:" + "0" * 64, ""])
def test_no_name_to_be_given(gear: Terminal, name: str) -> None:
    gear.ok("pull", "geard/sample")
    assert gear("tag", "geard/sample", "--", name).code == 64


def test_several_are_pulled_at_once_and_each_is_told_of(gear: Terminal) -> None:
    gear.host.engine.registry["docker.io/geard/other:latest"] = make_image("docker.io/geard/other")
    said = gear("pull", "geard/sample", "geard/other", "geard/never")
    assert said.code == 5 and "no image docker.io/geard/never" in said.err
    assert len(said.lines) == 2 and len(gear.host.engine.here) == 2


IDS = [letter * 64 for letter in "abcd"]


@given(
    st.dictionaries(st.sampled_from(IDS), st.integers(0, 60)),
    st.sets(st.sampled_from(IDS)),
    st.integers(0, 60),
)
def test_the_plan_takes_nothing_that_is_used_and_nothing_early(
    days_ago: dict[str, int], used: set[str], days: int
) -> None:
    images = [StoredImage(id, "", (f"x/{id}:1",), 1, "") for id in IDS]
    uses = {id: Uses(gears=["web"] if id in used else []) for id in IDS}
    before = {id: (NOW - timedelta(days=ago)).isoformat() for id, ago in days_ago.items()}
    since = noted_anew(uses, before, NOW)
    plan = plan_prune(images, uses, since, NOW, days=days)
    for image in plan.go:
        assert image.id not in used
        assert days_ago.get(image.id, 0) >= days
    assert {image.id for image in (*plan.go, *plan.waiting)} == set(IDS) - used
    assert noted_anew(uses, since, NOW) == since


def test_a_clock_that_was_put_back_makes_nothing_older() -> None:
    later = (NOW + timedelta(days=400)).isoformat()
    assert noted_anew({"a": Uses()}, {"a": later}, NOW) == {"a": NOW.isoformat(timespec="seconds")}


def test_another_engines_gears_need_none_of_these() -> None:
    image = StoredImage(IDS[0], "", ("docker.io/library/a:latest",), 1, "")
    needs = [Need("web", "v", "docker", "a", IDS[0], in_force=True)]
    assert not uses_of([image], needs, "podman", {}, "docker.io")[IDS[0]].any
    assert uses_of([image], needs, "docker", {}, "docker.io")[IDS[0]].gears == ["web"]


def test_bytes_and_ages() -> None:
    assert [show_bytes(n) for n in (0, 999, 1500, 2_200_000, 312_000_000, 1_500_000_000)] == [
        *("0 B", "999 B", "1.5 kB", "2.2 MB", "312 MB", "1.5 GB")
    ]
    ago = [timedelta(minutes=5), timedelta(hours=5), timedelta(days=5), timedelta(days=400)]
    assert [show_age((NOW - each).isoformat(), NOW) for each in ago] == [
        *("5 minutes", "5 hours", "5 days", "13 months")
    ]
    assert show_age("", NOW) == "" and show_age("1970", NOW) == ""


def test_a_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    from geard.failures import Invalid, Unavailable
    from geard.images.transferring import receive, send

    target = tmp_path / "a.tar"
    assert receive(str(target), argv=["/bin/echo", "archive"]) == 0
    assert target.read_text() == "archive\n"
    with pytest.raises(Unavailable):
        receive(str(target), argv=["/bin/sh", "-c", "echo half; exit 3"])
    assert target.read_text() == "archive\n" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(Invalid):
        receive(str(tmp_path / "no/such"), argv=["/bin/true"])
    with pytest.raises(Invalid):
        send(str(tmp_path / "nothing"), argv=["/bin/cat"])


def test_what_came_of_pulls_for_programs_in_the_order_they_were_named(gear: Terminal) -> None:
    gear.host.engine.registry["docker.io/geard/other:latest"] = make_image("docker.io/geard/other")
    named = ("geard/sample", "geard/never", "geard/other")
    said = gear("pull", "-o", "json", *named)
    rows = json.loads(said.out)
    assert [row["Image"] for row in rows] == ["docker.io/geard/sample:latest", "docker.io/geard/other:latest"]
    assert all(row["Message"].startswith(f"{row['Image']} is ") for row in rows)
    assert said.code != 0 and "geard/never" in said.err
    rows = json.loads(gear("pull", "--no-wait", "-o", "json", "geard/sample").out)
    assert [row["Message"] for row in rows] == ["Pulling docker.io/geard/sample:latest"]
