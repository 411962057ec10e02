"""What a start lays out of a gear's secrets: whose the files are, what goes away, what a hook loads for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import geard
from geard.containers.unit_hooks import record
from geard.failures import Failure, Unavailable
from geard.secrets.file import Secret, lay_out, parse, render

SOURCE = Path(geard.__file__).parent


def places(tmp_path: Path, **values: bytes) -> tuple[str, str]:
    """The folder of secrets, and the one that is to be made."""
    (tmp_path / "secrets").mkdir()
    for name, value in values.items():
        (tmp_path / "secrets" / name).write_bytes(render(Secret("then", "now", f"version-of-{name}", value)))
    return str(tmp_path / "secrets"), str(tmp_path / "out")


@pytest.mark.parametrize("value", [b"", b"\n", b"# geard: a b c\n", bytes(range(256))])
def test_a_file_has_the_value_byte_for_byte(value: bytes) -> None:
    found = parse(render(Secret("then", "now", "version", value)), "db")
    assert (found.created, found.changed, found.version, found.value) == ("then", "now", "version", value)


@pytest.mark.parametrize("data", [b"", b"value", b"# geard: a b c", b"# geard: a b\nvalue", b"# geard: \xff\n"])
def test_another_file_is_none_of_ours(data: bytes) -> None:
    with pytest.raises(Unavailable, match="the file of secret db is damaged"):
        parse(data, "db")


def test_files_belong_to_the_gears_own_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[tuple[int, int]] = []

    def fchown(fd: int, uid: int, gid: int) -> None:
        owners.append((uid, gid))

    monkeypatch.setattr(os, "fchown", fchown)
    orders = "db:0444:0:0 db:0400:1001:7 v=A"
    assert lay_out(orders, 2_000_000, *places(tmp_path, db=b"\0value", v=b"text")) == {"A": "text"}
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["0-db", "1-db", "versions"]
    assert (out / "0-db").read_bytes() == (out / "1-db").read_bytes() == b"\0value"
    assert [oct((out / name).stat().st_mode & 0o777) for name in ("0-db", "1-db")] == ["0o444", "0o400"]
    assert owners == [(2_000_000, 2_000_000), (2_001_001, 2_000_007), (0, 0)]
    assert (out / "versions").read_text() == "db version-of-db\nv version-of-v\n"


@pytest.mark.parametrize(
    ("orders", "says"),
    [
        ("nosuch:0444:0:0", "there is no secret nosuch here"),
        ("nul=A", "secret nul cannot be a variable"),
        ("bytes=A", "secret bytes cannot be a variable"),
    ],
)
def test_what_cannot_be_given_says_why_without_the_value(tmp_path: Path, orders: str, says: str) -> None:
    with pytest.raises(Failure, match=says) as raised:
        lay_out(orders, 0, *places(tmp_path, nul=b"swordfish\0", bytes=b"swordfish\xff"))
    assert "swordfish" not in str(raised.value)


def removed(*_: object) -> int:
    """The engine has taken the container away."""
    return 0


def test_a_stop_takes_them_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "ctr-web"
    (state / "secrets").mkdir(parents=True)
    for name in ("secrets/0-db", "secrets/env", "environment", "env"):
        (state / name).write_text("swordfish")
    monkeypatch.setattr(record, "RUN", str(tmp_path))
    monkeypatch.setattr(record, "_run", removed)
    assert record.main("ctr-web") == 0
    assert sorted(path.name for path in state.iterdir()) == ["ended", "env"]
    (state / "environment").write_text("of no secret")
    assert record.main("ctr-web") == 0
    assert (state / "environment").exists()


def test_a_hook_lays_them_out_with_nothing_but_the_standard_library() -> None:
    program = f"""
import sys
sys.path[:] = [path for path in sys.path if "site-packages" not in path and "dist-packages" not in path]
sys.path.append({str(SOURCE.parent)!r})
import geard.secrets.file
print(*sorted(name for name in sys.modules if name.partition(".")[0] == "geard"))
"""
    argv = [sys.executable, "-I", "-S", "-c", program]
    finished = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["geard", "geard.failures", "geard.secrets", "geard.secrets.file"]
