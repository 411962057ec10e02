"""Levels of SELinux: never the same for two gears, always valid; and which label a gear's volumes get."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geard.containers import selinux
from geard.containers.slots import SLOTS

PAIRS = selinux.CATEGORIES * (selinux.CATEGORIES - 1) // 2
SLOT = st.integers(0, PAIRS - 1)


def pair(slot: int) -> tuple[int, int]:
    found = re.fullmatch(r"s0:c(\d+),c(\d+)", selinux.level_of(slot))
    assert found is not None
    return int(found[1]), int(found[2])


@given(SLOT)
def test_a_level_is_two_categories_in_order(slot: int) -> None:
    low, high = pair(slot)
    assert 0 <= low < high < selinux.CATEGORIES
    assert high * (high - 1) // 2 + low == slot, "and leads back to its slot"


@given(SLOT, SLOT)
def test_no_two_slots_have_the_same(one: int, other: int) -> None:
    assert (pair(one) == pair(other)) == (one == other)


def test_every_slot_there_is_has_one() -> None:
    assert len({pair(slot) for slot in range(SLOTS)}) == SLOTS
    assert pair(0) == (0, 1) and pair(PAIRS - 1) == (1022, 1023)
    for none in (-1, PAIRS):
        with pytest.raises(ValueError, match="no pair"):
            selinux.level_of(none)


def test_whether_it_is_on(tmp_path: Path) -> None:
    assert selinux.mode(str(tmp_path)) == ""
    (tmp_path / "sys/fs/selinux").mkdir(parents=True)
    for text, word in (("0", "permissive"), ("1\n", "enforcing")):
        (tmp_path / "sys/fs/selinux/enforce").write_text(text)
        assert selinux.mode(str(tmp_path)) == word


def test_the_type_is_the_policys(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert selinux.file_context("s0:c1,c2", root) == "system_u:object_r:container_file_t:s0:c1,c2"
    contexts = tmp_path / "etc/selinux/default/contexts"
    contexts.mkdir(parents=True)
    (tmp_path / "etc/selinux/config").write_text("# SELINUXTYPE=x\nSELINUX=enforcing\nSELINUXTYPE=default\n")
    (contexts / "lxc_contexts").write_text('process = "a:b:c:s0"\nfile = "system_u:object_r:svirt_lxc_t:s0"\n')
    assert selinux.file_context("s0:c1,c2", root) == "system_u:object_r:svirt_lxc_t:s0:c1,c2"


@pytest.mark.parametrize("own", ["system_u:system_r:container_t:s0:c3,c7\0", "u:r:spc_t:s0:c3,c7\n"])
def test_what_is_copied_in_is_labelled_as_the_gears_own(own: str) -> None:
    assert selinux.context_of(own).endswith(":s0:c3,c7")


@pytest.mark.parametrize(
    "none", ["", "kernel", "u:r:initrc_t:s0", "u:r:unconfined_t:s0-s0:c0.c1023", "docker-default (enforce)\n"]
)
def test_programs_without_a_pair_leave_labels_alone(none: str) -> None:
    assert selinux.context_of(none) == ""


def test_a_volume_is_labelled_once_and_its_links_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "volume/sub").mkdir(parents=True)
    (tmp_path / "volume/sub/file").touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/theirs").touch()
    (tmp_path / "volume/link").symlink_to(tmp_path / "outside")
    labels = dict[str, bytes]()

    def put(path: str, name: str, value: bytes, *, follow_symlinks: bool) -> None:
        assert name == "security.selinux" and not follow_symlinks
        folder, _, last = str(path).rpartition("/")
        labels[f"{os.path.realpath(folder)}/{last}"] = value

    def get(path: str, name: str, *, follow_symlinks: bool = True) -> bytes:
        if str(path) not in labels:
            raise OSError
        return labels[str(path)] + b"\0"

    monkeypatch.setattr(os, "setxattr", put)
    monkeypatch.setattr(os, "getxattr", get)
    top = f"{tmp_path}/volume"
    selinux.label(top, "u:r:t:s0:c1,c2")
    assert set(labels) == {top, f"{top}/link", f"{top}/sub", f"{top}/sub/file"}
    assert set(labels.values()) == {b"u:r:t:s0:c1,c2"} and list(labels)[-1] == top
    labels.pop(f"{top}/sub/file")
    selinux.label(top, "u:r:t:s0:c1,c2")
    assert f"{top}/sub/file" not in labels, "it was labelled before: its programs give what they make their own"
    selinux.label(top, "u:r:t:s0:c1,c3")
    assert labels[f"{top}/sub/file"] == b"u:r:t:s0:c1,c3"
