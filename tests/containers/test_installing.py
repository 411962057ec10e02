"""Installing and deleting on a host's disk: whole or not there, harmless to repeat, nothing lost or left."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import pytest
from tests.fakes.engine import make_image
from tests.fakes.host import SAMPLE, FakeHost, Tree, make_host, tree

from geard import catalog
from geard.containers import deleting, installing, lifecycle, listing, slots, versions
from geard.containers.definition import Definition
from geard.containers.folders import Folders
from geard.containers.requests import (
    InstallContainer,
    UpdateContainer,
    Volume,
    VolumeConfig,
    VolumeMount,
    Wish,
)
from geard.containers.updating import updated, wish_of
from geard.dispatch import turns
from geard.dispatch.work import Work
from geard.environments import store
from geard.environments.requests import Environment, EnvironmentPart, Variable
from geard.facet import Facet, Gear
from geard.failures import AlreadyExists, Conflict, Failure, Invalid
from geard.host import Host
from geard.host.engine import Image
from geard.host.storage import Changes
from geard.identifiers import new_request_id
from geard.ports.requests import PortPair, PublishedPorts
from geard.ports.reservations import held_by
from geard.request import ROOT_HERE
from geard.words import Part

FACETS = catalog.load()
IDS = (f"{number:022d}" for number in itertools.count())


def published(*pairs: tuple[int, int]) -> PublishedPorts:
    return PublishedPorts(value=tuple(PortPair(internal=inside, external=outside) for inside, outside in pairs))


def variables(**given: str) -> EnvironmentPart:
    found = tuple(Variable(name=name, value=value) for name, value in given.items())
    return EnvironmentPart(value=Environment(variables=found))


def wish(id: str = "web", *parts: Part, image: str = "geard/sample", **more: Any) -> InstallContainer:
    return InstallContainer(id=id, image=image, parts=parts, **more)


def settle(
    host: FakeHost, asked: InstallContainer, version: str = "", image: Image | None = None
) -> installing.Settled:
    return installing.settle(host, asked, version or next(IDS), "a test", FACETS, image)


def complete(host: FakeHost, id: str = "web", image: Image = SAMPLE) -> None:
    now = versions.current(Folders.of(host.paths, id))
    assert now is not None
    assert installing.complete(host, id, now.version, image, FACETS, next(IDS)) is not None


def ports_of(host: FakeHost, id: str = "web") -> set[int]:
    return {port for port, _ in held_by(host.paths, Folders.of(host.paths, id).unit)}


def slots_of(host: FakeHost) -> list[str]:
    folder = host.paths.base / "slots"
    return sorted(path.name for path in folder.glob("[0-9]*")) if folder.exists() else []


def whole(host: FakeHost) -> Tree:
    """The host's disk without empty folders, which carry no meaning."""
    return {name: what for name, what in tree(host.folder).items() if not what.startswith("folder")}


# --- installing


def test_what_an_install_writes(fake_host: FakeHost) -> None:
    settled = settle(fake_host, wish("web", published((8080, 4100)), variables(A="b"), started=True))
    folders = Folders.of(fake_host.paths, "web")
    assert settled.changed
    assert versions.current(folders) == settled.definition
    assert folders.known.readlink() == folders.unit == folders.wanted.readlink()
    assert ports_of(fake_host) == {4100}
    assert store.load(fake_host.paths, "web") == {"A": "b"}
    assert slots_of(fake_host) == ["0"]
    assert "GEAR_RUN" not in folders.run.read_text()
    complete(fake_host)
    assert "GEAR_RUN" in folders.run.read_text()


def test_the_same_again_writes_nothing(fake_host: FakeHost) -> None:
    asked = wish("web", published((8080, 0)), variables(A="b"), command=("x",))
    settle(fake_host, asked)
    complete(fake_host)
    there = tree(fake_host.folder)
    again = settle(fake_host, asked)
    assert not again.changed
    assert tree(fake_host.folder) == there
    complete(fake_host)
    assert tree(fake_host.folder) == there


def test_the_ports_of_an_image_are_kept_over_installs(fake_host: FakeHost) -> None:
    settle(fake_host, wish())
    complete(fake_host)
    before = ports_of(fake_host)
    assert len(before) == 1
    settle(fake_host, wish(command=("x",)))
    complete(fake_host)
    assert ports_of(fake_host) == before


def test_a_free_port_stays_the_same_and_a_named_one_is_what_was_named(fake_host: FakeHost) -> None:
    settle(fake_host, wish("web", published((8080, 0), (9090, 0))))
    first = versions.require(Folders.of(fake_host.paths, "web")).parts
    settle(fake_host, wish("web", published((8080, 0), (9090, 0)), command=("x",)))
    assert versions.require(Folders.of(fake_host.paths, "web")).parts == first
    settle(fake_host, wish("web", published((8080, 4500))))
    assert 4500 in ports_of(fake_host)


def test_a_request_id_is_one_version_for_ever(fake_host: FakeHost) -> None:
    version = new_request_id()
    settle(fake_host, wish(command=("one",)), version)
    assert not settle(fake_host, wish(command=("one",)), version).changed
    settle(fake_host, wish(command=("two",)))
    there = tree(fake_host.folder)
    with pytest.raises(Conflict):
        settle(fake_host, wish(command=("three",)), version)
    assert tree(fake_host.folder) == there


def test_an_image_that_is_another_by_now_is_a_new_version(fake_host: FakeHost) -> None:
    settle(fake_host, wish())
    complete(fake_host)
    first = versions.require(Folders.of(fake_host.paths, "web"))
    complete(fake_host, image=make_image("docker.io/geard/sample", ports=SAMPLE.ports, content="newer"))
    second = versions.require(Folders.of(fake_host.paths, "web"))
    assert second.version != first.version
    assert second.image_id != first.image_id
    assert [d.version for d in versions.recorded(Folders.of(fake_host.paths, "web"))] == [
        second.version,
        first.version,
    ]


def test_completing_what_was_installed_anew_meanwhile_does_nothing(fake_host: FakeHost) -> None:
    old = settle(fake_host, wish(command=("one",))).definition.version
    settle(fake_host, wish(command=("two",)))
    there = tree(fake_host.folder)
    assert installing.complete(fake_host, "web", old, SAMPLE, FACETS, next(IDS)) is None
    assert installing.complete(fake_host, "absent", old, SAMPLE, FACETS, next(IDS)) is None
    assert whole(fake_host) == {name: what for name, what in there.items() if not what.startswith("folder")}


def test_an_image_without_a_program_is_refused_with_nothing_claimed(fake_host: FakeHost) -> None:
    now = settle(fake_host, wish()).definition
    there = tree(fake_host.folder)
    for _ in range(2):
        with pytest.raises(Invalid, match="names no program"):
            installing.complete(
                fake_host, "web", now.version, make_image("x", ports=((80, "tcp"),), command=()), FACETS, next(IDS)
            )
        assert tree(fake_host.folder) == there


def test_a_preview_says_what_would_be_written_and_writes_nothing(fake_host: FakeHost) -> None:
    asked = wish("web", published((8080, 4100)), command=("x",))
    there = tree(fake_host.folder)
    shown = installing.preview(fake_host, asked, "0" * 22, "a test", FACETS)
    assert tree(fake_host.folder) == there
    assert "Description=Container web" in shown.unit
    assert "X-PortMapping=8080:4100" in shown.unit
    assert "4100:8080/tcp" in shown.definition


# --- what goes wrong


def taken(host: FakeHost) -> InstallContainer:
    settle(host, wish("other", published((80, 4100))))
    return wish("web", published((8080, 0), (9090, 4100)), variables(A="b"), started=True)


def too_long(host: FakeHost) -> InstallContainer:
    return wish("web", published((8080, 0)), variables(A="b"), image="geard/sample", labels={"a": "x" * 200_000})


known_images = pytest.mark.parametrize("image", [None, SAMPLE], ids=["image-unknown", "image-here"])


@known_images
@pytest.mark.parametrize("installed", [False, True], ids=["new", "re-install"])
def test_a_port_that_another_has_leaves_everything_as_it_was(
    fake_host: FakeHost, installed: bool, image: Image | None
) -> None:
    asked = taken(fake_host)
    if installed:
        settle(fake_host, wish("web", published((8080, 4200)), variables(OLD="1")))
    there = whole(fake_host)
    for _ in range(2):
        with pytest.raises(AlreadyExists):
            settle(fake_host, asked, image=image)
        assert whole(fake_host) == there


def test_words_that_cannot_be_carried_leave_everything_as_it_was(fake_host: FakeHost) -> None:
    """What a definition holds is measured when it is rendered; with an image that is here, at the install."""
    settle(fake_host, wish())
    complete(fake_host)
    there = whole(fake_host)
    with pytest.raises(Invalid):
        settle(fake_host, too_long(fake_host))
    assert whole(fake_host) == there


def test_words_that_cannot_be_carried_leave_nothing_where_there_was_nothing(fake_host: FakeHost) -> None:
    there = whole(fake_host)
    asked = wish(labels={"a": "x" * 200_000})  # with the ports that the image exposes
    with pytest.raises(Invalid):
        settle(fake_host, asked, image=SAMPLE)
    assert whole(fake_host) == there


def test_an_image_without_a_program_leaves_nothing_where_there_was_nothing(fake_host: FakeHost) -> None:
    there = whole(fake_host)
    with pytest.raises(Invalid, match="names no program"):
        settle(fake_host, wish("web", published((80, 0))), image=make_image("x", ports=((81, "tcp"),), command=()))
    assert whole(fake_host) == there


def test_an_image_that_is_here_makes_one_version(fake_host: FakeHost) -> None:
    settled = settle(fake_host, wish(), image=SAMPLE)
    assert settled.definition.complete
    assert len(versions.recorded(Folders.of(fake_host.paths, "web"))) == 1
    assert len(ports_of(fake_host)) == 1
    there = tree(fake_host.folder)
    complete(fake_host)
    assert not settle(fake_host, wish(), image=SAMPLE).changed
    assert tree(fake_host.folder) == there


def test_words_that_cannot_be_carried_are_refused_at_the_door(fake_host: FakeHost) -> None:
    """Also where the image is not here yet: else the gear is installed and can never start."""
    there = whole(fake_host)
    with pytest.raises(Invalid):
        settle(fake_host, too_long(fake_host))
    assert whole(fake_host) == there


CALLS = ("open", "fsync", "rename", "link", "symlink", "mkdir")


def run_out(monkeypatch: pytest.MonkeyPatch, after: int) -> Callable[[], bool]:
    """From the so-manyth call on, the disk is full. Whether that came to pass."""
    left, full = after, False

    def guard(real: Callable[..., Any], writes: Callable[..., bool]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left, full
            if writes(*args):
                left -= 1
                if left < 0:
                    full = True
                    raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        return call

    def makes(path: object, flags: int, *_: object) -> bool:
        return bool(flags & os.O_CREAT)

    def is_file(fd: int) -> bool:
        return os.path.isfile(f"/proc/self/fd/{fd}")

    for name in CALLS:
        real = getattr(os, name)
        if name == "open":
            monkeypatch.setattr(os, name, guard(real, makes))
        elif name == "fsync":
            monkeypatch.setattr(os, name, guard(real, is_file))
        else:
            monkeypatch.setattr(os, name, guard(real, lambda *_: True))
    return lambda: full


@known_images
@pytest.mark.parametrize("installed", [False, True], ids=["new", "re-install"])
def test_a_disk_that_fills_up_at_any_step_leaves_the_gear_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, image: Image | None
) -> None:
    wanted = wish("web", published((8080, 0), (9090, 4500)), variables(A="b"), started=True)
    for after in itertools.count():
        host = make_host(tmp_path / str(after))
        folders = Folders.of(host.paths, "web")
        if installed:
            settle(host, wish("web", published((8080, 4200)), variables(OLD="1")))
        before = versions.current(folders)
        with monkeypatch.context() as patch:
            came_to_pass = run_out(patch, after)
            failed = False
            try:
                settle(host, wanted, image=image)
            except OSError:
                failed = True
        assert failed == came_to_pass()
        now = versions.current(folders)
        if failed:
            # Either is whole: what was, or what was asked for where only the last links are missing.
            assert now == before or (now is not None and now.parts == expected_parts(host, now))
            settle(host, wanted)  # and asking again completes it
        done = versions.require(folders)
        assert folders.unit.samefile(folders.versions / done.version)
        assert folders.known.readlink() == folders.wanted.readlink() == folders.unit
        assert store.load(host.paths, "web") == {"A": "b"}
        assert ports_of(host) >= {
            p.external for part in done.parts if isinstance(part, PublishedPorts) for p in part.value
        }
        assert len(ports_of(host)) <= (3 if installed else 2), f"ports were lost after {after} steps"
        assert len(slots_of(host)) == 1, f"slots were lost after {after} steps: {slots_of(host)}"
        if not failed:
            assert after > 5
            return


def expected_parts(host: FakeHost, now: Any) -> tuple[Part, ...]:
    assert {p.external for part in now.parts if isinstance(part, PublishedPorts) for p in part.value} <= ports_of(
        host
    )
    parts: tuple[Part, ...] = now.parts
    return parts


def test_a_clock_that_is_set_back_leaves_the_order_of_versions(
    fake_host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) - timedelta(days=1)

    first = settle(fake_host, wish(command=("one",))).definition
    with monkeypatch.context() as patch:
        patch.setattr(installing, "datetime", Clock)
        second = settle(fake_host, wish(command=("two",))).definition
    known = versions.recorded(Folders.of(fake_host.paths, "web"))
    assert [each.version for each in known] == [second.version, first.version]
    assert versions.choose(Folders.of(fake_host.paths, "web"), second, "") == first

    with Changes() as changes:
        versions.enforce(Folders.of(fake_host.paths, "web"), changes, first.version)
    with monkeypatch.context() as patch:
        patch.setattr(installing, "datetime", Clock)
        third = settle(fake_host, wish(command=("three",))).definition
    known = versions.recorded(Folders.of(fake_host.paths, "web"))
    assert [each.version for each in known] == [third.version, second.version, first.version], (
        "after a rollback too"
    )


@pytest.mark.parametrize("installed", [False, True], ids=["new", "re-install"])
def test_an_install_killed_at_any_step_leaves_no_version_that_never_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    """And what it claimed is given back by the next agent, without anybody asking again."""
    for steps in itertools.count():
        host = make_host(tmp_path / str(steps))
        folders = Folders.of(host.paths, "web")
        if installed:
            settle(host, wish("web", published((8080, 4200))))
            complete(host)
        killed = False
        with monkeypatch.context() as patch:
            kill_after(patch, steps)
            try:
                settle(host, wish("web", published((8080, 0), (9090, 4500))))
                complete(host)
            except KilledError:
                killed = True
        for id in list(deleting.left_over(host)):
            deleting.clear(host, id, FACETS)
        for id in listing.installed(host.paths):
            installing.put_right(host, id, FACETS)
        known = versions.recorded(folders)
        now = versions.current(folders)
        for each in known:
            assert (folders.versions / each.version).exists(), f"half a version after {steps} steps"
        held = {
            p.external for d in known for part in d.parts if isinstance(part, PublishedPorts) for p in part.value
        }
        assert ports_of(host) == held, f"lost after {steps} steps"
        if now is not None:
            assert folders.unit.samefile(folders.versions / now.version), f"behind after {steps} steps"
            assert folders.run.samefile(folders.versions / f"{now.version}.run"), f"behind after {steps} steps"
            assert not folders.claiming.exists()
        if not killed:
            assert steps > 5
            return


# --- deleting


def install_whole(host: FakeHost, id: str = "web", *parts: Part, **more: Any) -> None:
    settle(host, wish(id, *(parts or (published((8080, 4100)), variables(A="b"))), started=True, **more))
    complete(host, id)


def test_a_gear_that_is_deleted_leaves_nothing_but_its_environment(fake_host: FakeHost) -> None:
    there = whole(fake_host)
    install_whole(fake_host)
    assert deleting.hide(fake_host, "web", FACETS, purge=False) is True
    assert versions.current(Folders.of(fake_host.paths, "web")) is None
    assert not Folders.of(fake_host.paths, "web").wanted.is_symlink()
    assert list(deleting.left_over(fake_host)) == ["web"]
    for _ in range(2):
        deleting.clear(fake_host, "web", FACETS)
        assert list(deleting.left_over(fake_host)) == []
        left = {name for name in whole(fake_host) if name not in there}
        assert {name for name in left if not name.endswith("/next")} == {"containers/env/contents/we/web"}
    assert deleting.hide(fake_host, "web", FACETS, purge=False) is False


def test_with_purge_nothing_at_all_is_left(fake_host: FakeHost) -> None:
    there = whole(fake_host)
    config = VolumeConfig(volumes=(Volume(path="/data"),))
    install_whole(fake_host, volume_config=config)
    for _, draft in installing.make_volumes(fake_host, versions.require(Folders.of(fake_host.paths, "web"))):
        installing.adopt_volume(draft)
    deleting.hide(fake_host, "web", FACETS, purge=True)
    deleting.clear(fake_host, "web", FACETS)
    assert {name for name in whole(fake_host) if not name.endswith("/next")} == set(there)
    assert not Folders.of(fake_host.paths, "web").data.exists()


def test_volumes_outlive_a_gear_and_keep_its_users(fake_host: FakeHost) -> None:
    config = VolumeConfig(volumes=(Volume(path="/data"),))
    settle(fake_host, wish("first"))
    install_whole(fake_host, volume_config=config)
    folders = Folders.of(fake_host.paths, "web")
    uid = versions.require(folders).uid
    for _, draft in installing.make_volumes(fake_host, versions.require(folders)):
        installing.adopt_volume(draft)
    (folders.data / "data" / "file").write_text("keep")
    deleting.hide(fake_host, "web", FACETS, purge=False)
    deleting.clear(fake_host, "web", FACETS)
    assert not ports_of(fake_host)
    settle(fake_host, wish("second"))
    install_whole(fake_host, volume_config=config)
    assert versions.require(folders).uid == uid
    assert (folders.data / "data" / "file").read_text() == "keep"


def test_the_users_of_files_that_are_left_are_nobody_elses(
    fake_host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither while volumes are kept, nor while a purge of them does not get on; whoever asks."""
    folders, config = Folders.of(fake_host.paths, "web"), VolumeConfig(volumes=(Volume(path="/data"),))
    install_whole(fake_host, volume_config=config)
    for _, draft in installing.make_volumes(fake_host, versions.require(folders)):
        installing.adopt_volume(draft)
    (folders.data / "data" / "file").write_text("keep")
    slot = versions.require(folders).slot
    others = (f"other{n}" for n in itertools.count())

    def given_to_others() -> set[int | None]:
        found: set[int | None] = set()
        for id in itertools.islice(others, 3):
            (fake_host.paths.base / "slots" / "next").write_text(str(slot))
            settle(fake_host, wish(id))
            found.add(versions.require(Folders.of(fake_host.paths, id)).slot)
        return found

    deleting.hide(fake_host, "web", FACETS, purge=False)
    deleting.clear(fake_host, "web", FACETS)
    assert slot not in given_to_others()
    deleting.hide(fake_host, "web", FACETS, purge=True)
    with monkeypatch.context() as broken:

        def refuse(changes: Changes, path: Path) -> None:
            raise OSError(errno.EIO, "I/O error", str(path))

        broken.setattr(Changes, "remove_tree", refuse)
        with suppress(OSError):
            deleting.clear(fake_host, "web", FACETS)
    assert (folders.data / "data" / "file").exists() and slot not in given_to_others()
    deleting.clear(fake_host, "web", FACETS)
    assert not folders.data.exists() and slot in given_to_others(), "and then they are free again"


def test_a_gear_installed_again_at_once_is_kept_by_the_deletion_before(fake_host: FakeHost) -> None:
    install_whole(fake_host)
    deleting.hide(fake_host, "web", FACETS, purge=True)
    install_whole(fake_host)
    there = whole(fake_host)
    deleting.clear(fake_host, "web", FACETS)
    assert whole(fake_host) == there
    assert ports_of(fake_host) == {4100}


def test_deleting_what_is_not_there_is_fine(fake_host: FakeHost) -> None:
    there = tree(fake_host.folder)
    assert deleting.hide(fake_host, "absent", FACETS, purge=False) is False
    assert deleting.hide(fake_host, "absent", FACETS, purge=True) is False
    deleting.clear(fake_host, "absent", FACETS)
    assert tree(fake_host.folder) == there


class KilledError(BaseException):
    """The process ends here."""


def kill_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    left = steps

    def guard(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return real(*args, **kwargs)

        return call

    for name in ("unlink", "rmdir", "rename", "symlink", "link", "mkdir"):
        monkeypatch.setattr(os, name, guard(getattr(os, name)))


def test_a_deletion_killed_at_any_step_is_completed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for steps in itertools.count():
        host = make_host(tmp_path / str(steps))
        install_whole(host)
        before = whole(host)
        killed = False
        with monkeypatch.context() as patch:
            kill_after(patch, steps)
            try:
                deleting.hide(host, "web", FACETS, purge=True)
                deleting.clear(host, "web", FACETS)
            except KilledError:
                killed = True
        if killed and not list(deleting.left_over(host)) and whole(host).keys() >= before.keys():
            assert versions.current(Folders.of(host.paths, "web")) is not None, "neither there nor being deleted"
            continue  # it had not begun
        for id in list(deleting.left_over(host)):
            deleting.clear(host, id, FACETS)
        left = {name for name in whole(host) if not name.endswith("/next")}
        assert not {name for name in left if "web" in name}, f"left after {steps} steps: {left}"
        assert (ports_of(host), slots_of(host)) == (set(), []), f"lost after {steps} steps"
        if not killed:
            assert steps > 5
            return


@pytest.mark.parametrize("again", [False, True], ids=["then-deleted", "then-installed-and-deleted"])
def test_an_install_killed_at_any_step_loses_no_port_and_no_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    for steps in itertools.count():
        host = make_host(tmp_path / str(steps))
        killed = False
        with monkeypatch.context() as patch:
            kill_after(patch, steps)
            try:
                settle(host, wish("web", published((8080, 0), (9090, 4500)), started=True))
            except KilledError:
                killed = True
        if again:
            install_whole(host, "web", published((8080, 0), (9090, 4600)))
        deleting.hide(host, "web", FACETS, purge=False)
        deleting.clear(host, "web", FACETS)
        assert (ports_of(host), slots_of(host)) == (set(), []), f"reserved for a gear that is gone (step {steps})"
        if not killed:
            assert steps > 5
            return


def test_a_port_of_a_killed_install_is_never_two_gears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was cut may be completed later, or its port taken over: not both."""
    for steps in itertools.count():
        host = make_host(tmp_path / str(steps))
        killed = False
        with monkeypatch.context() as patch:
            kill_after(patch, steps)
            try:
                settle(host, wish("web", published((8080, 4500)), started=True))
            except KilledError:
                killed = True
        with suppress(AlreadyExists):
            settle(host, wish("other", published((80, 4500))))
        with suppress(AlreadyExists):
            settle(host, wish("web", published((8080, 4500)), command=("again",)))
        for id in ("web", "other"):
            now = versions.current(Folders.of(host.paths, id))
            if now is not None:
                assert ports_of(host, id) == {4500}, f"{id} says 4500 is its own, which it is not (step {steps})"
        if not killed:
            assert steps > 5
            return


def test_an_install_after_a_cut_deletion_takes_the_port_up_again(fake_host: FakeHost) -> None:
    install_whole(fake_host)
    deleting.hide(fake_host, "web", FACETS, purge=False)
    install_whole(fake_host)
    assert list(deleting.left_over(fake_host)) == []
    versions.require(Folders.of(fake_host.paths, "web"))
    assert ports_of(fake_host) == {4100}
    assert slots_of(fake_host) == ["0"]


def test_an_install_over_a_cut_deletion_loses_no_port_of_before(fake_host: FakeHost) -> None:
    install_whole(fake_host)
    deleting.hide(fake_host, "web", FACETS, purge=False)
    settle(fake_host, wish("web", published((8080, 4300))))
    deleting.hide(fake_host, "web", FACETS, purge=False)
    deleting.clear(fake_host, "web", FACETS)
    assert not ports_of(fake_host)
    assert not slots_of(fake_host)


def test_a_failed_install_over_a_cut_deletion_keeps_the_deletion_going(fake_host: FakeHost) -> None:
    asked = taken(fake_host)
    install_whole(fake_host, "web", published((8080, 4200)))
    deleting.hide(fake_host, "web", FACETS, purge=False)
    with pytest.raises(AlreadyExists):
        settle(fake_host, asked)
    assert list(deleting.left_over(fake_host)) == ["web"]
    deleting.clear(fake_host, "web", FACETS)
    assert not ports_of(fake_host)
    assert len(slots_of(fake_host)) == 1


# --- changing what is there


def change(host: FakeHost, port: int = 4700) -> None:
    """Another port, as an update asks for it."""
    parts = (published((8080, 0), (9090, port)),)

    def plan(before: Definition | None) -> Wish:
        assert before is not None
        return updated(wish_of(before), UpdateContainer(id="web"), parts)

    installing.settle_planned(host, "web", plan, next(IDS), "a test", FACETS, None)


def go_back(host: FakeHost) -> None:
    installing.roll_back(host, "web", "", FACETS)


@pytest.mark.parametrize("deed", [change, go_back])
def test_a_change_killed_at_any_step_leaves_a_whole_version_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: Callable[[FakeHost], None]
) -> None:
    for steps in itertools.count():
        host = make_host(tmp_path / str(steps))
        folders = Folders.of(host.paths, "web")
        install_whole(host, "web", published((8080, 4100)))
        change(host, 4600)
        before = versions.require(folders)
        killed = False
        with monkeypatch.context() as patch:
            kill_after(patch, steps)
            try:
                deed(host)
            except KilledError:
                killed = True
        settle_again = wish_of(versions.require(folders))
        installing.settle_planned(host, "web", lambda _: settle_again, next(IDS), "a test", FACETS, None)  # noqa: B023
        now = versions.require(folders)
        if not killed:
            assert now.version != before.version
        assert folders.unit.samefile(folders.versions / now.version)
        assert folders.run.samefile(folders.versions / f"{now.version}.run")
        assert expected_parts(host, now)
        held = {
            p.external
            for d in versions.recorded(folders)
            for part in d.parts
            if isinstance(part, PublishedPorts)
            for p in part.value
        }
        assert ports_of(host) <= held, f"a port that no version records, after {steps} steps"
        deleting.hide(host, "web", FACETS, purge=False)
        deleting.clear(host, "web", FACETS)
        assert (ports_of(host), slots_of(host)) == (set(), []), f"lost after {steps} steps"
        if not killed:
            assert steps > 3
            return


# --- volumes


def test_volumes_are_made_once_and_only_geards_own(fake_host: FakeHost) -> None:
    config = VolumeConfig(
        volumes=(Volume(path="/data"), Volume(path="/a-b/c")),
        volume_mounts=(VolumeMount(path="/etc", host_path="/host"),),
    )
    settle(fake_host, wish(volume_config=config))
    complete(fake_host, image=make_image("docker.io/geard/sample", volumes=("/host", "/own")))
    definition = versions.require(Folders.of(fake_host.paths, "web"))
    made = installing.make_volumes(fake_host, definition)
    assert [path for path, _ in made] == ["/a-b/c", "/data", "/own"]
    for _, draft in made:
        (Path(draft) / "half").touch()
    made = installing.make_volumes(fake_host, definition)  # as after a kill: filled anew
    for _, draft in made:
        assert not list(Path(draft).iterdir())
        installing.adopt_volume(draft)
    assert installing.make_volumes(fake_host, definition) == []
    data = Folders.of(fake_host.paths, "web").data
    assert sorted(path.name for path in data.iterdir()) == ["a%2Db-c", "data", "own"]
    assert data.stat().st_mode & 0o777 == 0o700


def test_an_image_that_comes_when_its_gear_is_gone_leaves_nothing(fake_host: FakeHost) -> None:
    before = tree(fake_host.folder)
    assert installing.complete(fake_host, "web", next(IDS), SAMPLE, FACETS, next(IDS)) is None
    assert tree(fake_host.folder) == before


def test_a_slot_that_was_lost_sight_of_is_never_another_gears(fake_host: FakeHost) -> None:
    install_whole(fake_host, "one", published((1, 4101)))
    install_whole(fake_host, "two", published((1, 4102)))
    found = [versions.require(Folders.of(fake_host.paths, id)).slot for id in ("one", "two")]
    assert len(set(found)) == 2
    unit = Folders.of(fake_host.paths, "one").unit
    assert slots.kept(fake_host.paths, unit) == found[0]


@pytest.mark.parametrize("failure", [Invalid("no"), OSError(errno.EIO, "I/O error")])
def test_where_a_later_facet_fails_the_earlier_gives_back(fake_host: FakeHost, failure: Failure | OSError) -> None:
    ports = next(facet for facet in FACETS if facet.part is PublishedPorts)

    class Failing(Facet[EnvironmentPart]):
        part = EnvironmentPart

        def settle(
            self,
            host: Host,
            changes: Changes,
            gear: Gear,
            asked: EnvironmentPart | None,
            before: EnvironmentPart | None,
        ) -> EnvironmentPart | None:
            raise failure

    there = whole(fake_host)
    with pytest.raises(type(failure)):
        installing.settle(
            fake_host, wish("web", published((80, 0))), next(IDS), "a test", (ports, Failing()), None
        )
    assert {n: w for n, w in whole(fake_host).items() if not n.endswith("/next")} == there


def test_a_version_written_anew_for_its_image_is_whole_or_written_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any step, what the unit says of ports is what the definition publishes, once it is completed."""
    for steps in itertools.count():
        host = make_host(tmp_path / str(steps))
        folders = Folders.of(host.paths, "web")
        settle(host, wish())
        killed = False
        with monkeypatch.context() as patch:
            kill_after(patch, steps)
            try:
                complete(host)
            except KilledError:
                killed = True
        complete(host)
        (port,) = ports_of(host)
        assert f"X-PortMapping=8080:{port}\n" in folders.unit.read_text(), f"not so after {steps} steps"
        assert f"{port}:8080" in folders.run.read_text()
        if not killed:
            return


async def test_two_who_fill_a_volume_at_once_fill_it_once(
    fake_host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that completes what an earlier one began, and somebody who asks for it anew."""
    filled: list[str] = []

    async def slowly(image: str, path: str, target: str) -> None:
        filled.append(path)
        await asyncio.sleep(0.1)

    monkeypatch.setattr(fake_host.engine, "image_files", slowly)
    settle(fake_host, wish(volume_config=VolumeConfig(volumes=(Volume(path="/data"),))))
    works = [Work(fake_host, next(IDS), ROOT_HERE, facets=FACETS) for _ in range(2)]
    await asyncio.gather(*(lifecycle.complete(work, "web") for work in works))
    assert filled == ["/data"]
    assert sorted(path.name for path in Folders.of(fake_host.paths, "web").data.iterdir()) == ["data"]


async def test_a_program_in_its_first_moments_takes_no_turn_from_the_next(
    fake_host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "SETTLE_SECONDS", 600.0)
    monkeypatch.setattr(turns, "TURN_SECONDS", 600.0)
    slots, starting = turns.Turns(lambda: 1), list[asyncio.Task[None]]()
    for id in ("web", "db"):
        settle(fake_host, wish(id, started=True))
        complete(fake_host, id)
        work = Work(fake_host, next(IDS), ROOT_HERE, facets=FACETS)
        work.turns = slots
        starting.append(asyncio.create_task(lifecycle.start(work, id)))
    for _ in range(3_000):
        if {("start", "ctr-web.service"), ("start", "ctr-db.service")} <= set(fake_host.systemd.told):
            break
        await asyncio.sleep(0.01)
    assert ("start", "ctr-db.service") in fake_host.systemd.told
    assert not any(each.done() for each in starting)
    for each in starting:
        each.cancel()
    await asyncio.gather(*starting, return_exceptions=True)
