from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geard.jobs import output
from geard.jobs.lines import Lines
from geard.jobs.output import ERRORS, LEAST, OUTPUT, Kept, Reader, records


def text(folder: Path) -> bytes:
    return b"".join(record.data for record in records(str(folder)))


def test_all_is_kept_while_there_is_room(tmp_path: Path) -> None:
    kept = Kept(str(tmp_path), LEAST)
    kept.add(OUTPUT, b"out\n", 1)
    kept.add(ERRORS, b"err\n", 2)
    found = list(records(str(tmp_path)))
    assert [(each.kind, each.time, each.data, each.missing) for each in found] == [
        (OUTPUT, 1, b"out\n", 0),
        (ERRORS, 2, b"err\n", 0),
    ]
    assert (kept.written, kept.lost) == (8, 0)


def test_of_more_the_beginning_and_the_end_are_kept(tmp_path: Path) -> None:
    kept = Kept(str(tmp_path), LEAST)
    for number in range(1_000):
        kept.add(OUTPUT, b"%06d" % number * 1_000, number)
    found = list(records(str(tmp_path)))
    assert found[0].data.startswith(b"000000")
    assert found[-1].data.startswith(b"000999")
    assert sum(len(each.data) for each in found) == kept.written - kept.lost
    assert sum(each.missing > 0 for each in found) == 1
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= LEAST


@given(sizes=st.lists(st.integers(1, 60_000), max_size=80), every=st.integers(1, 5))
def test_who_keeps_up_reads_all(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], every: int) -> None:
    folder = tmp_path_factory.mktemp("job")
    kept, reader, seen = Kept(str(folder), LEAST), Reader(str(folder)), 0
    for number, size in enumerate(sizes):
        kept.add(OUTPUT, b"x" * size, number)
        if number % every == 0 or number == len(sizes) - 1:
            while (record := reader.read()) is not None:
                assert not record.missing
                seen += len(record.data)
    assert seen == sum(sizes) == kept.written
    assert reader.place == kept.end
    reader.close()
    kept.close()


def test_who_comes_late_reads_on_from_a_place(tmp_path: Path) -> None:
    kept = Kept(str(tmp_path), LEAST)
    kept.add(OUTPUT, b"before", 1)
    place = kept.end
    kept.add(OUTPUT, b"after", 2)
    reader = Reader(str(tmp_path), place)
    assert [record.data for record in iter(reader.read, None)] == [b"after"]
    kept.add(OUTPUT, b"later", 3)
    assert [record.data for record in iter(reader.read, None)] == [b"later"]


def test_a_full_disk_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(str(tmp_path), LEAST)
    kept.add(OUTPUT, b"first", 1)

    def full(fd: int, data: bytes) -> None:
        os.write(fd, data[:7])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(output, "_write", full)
        kept.add(OUTPUT, b"lost", 2)
    kept.add(OUTPUT, b"last", 3)
    assert text(tmp_path) == b"firstlast"
    assert (kept.written, kept.lost) == (13, 4)


def test_lines_of_both_streams() -> None:
    parts = Lines()
    told = [
        *parts.take(output.Record(OUTPUT, 1_000_000, b"one\ntw")),
        *parts.take(output.Record(ERRORS, 2_000_000, b"oh\n")),
        *parts.take(output.Record(OUTPUT, 3_000_000, b"o\nrest")),
        *parts.take(output.Record(OUTPUT, 4_000_000, b" of it", 17)),
        *parts.rest(),
    ]
    assert [(each.stream, each.content) for each in told] == [
        ("stdout", "one"),
        ("stderr", "oh"),
        ("stdout", "two"),
        ("stdout", "rest"),
        ("geard", "17 bytes of output here are not kept"),
        ("stdout", " of it"),
    ]
    assert told[2].time.startswith("1970-01-01T00:00:01"), "of its beginning"


def test_a_line_without_end_comes_in_pieces() -> None:
    told = list(Lines().take(output.Record(OUTPUT, 0, b"x" * 40_000)))
    assert [len(each.content) for each in told] == [16_384, 16_384]
