"""The checks that the fakes pass, on the real systemd, podman and journal."""

from __future__ import annotations

from pathlib import Path

from tests.lab.conftest import BOTH, Shell

CHECKS = Path(__file__).parents[1] / "host" / "conformance.py"


def test_systemd_podman_and_the_journal_are_as_the_fakes_have_them(host: Shell) -> None:
    finished = host.run(["/opt/geard/bin/python3", "-I", "-"], stdin=CHECKS.read_text(), check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@BOTH
def test_images_are_as_the_fake_has_them(host: Shell) -> None:
    """The machine's default engine, whichever it is."""
    finished = host.run(["/opt/geard/bin/python3", "-I", "-", "images"], stdin=CHECKS.read_text(), check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
