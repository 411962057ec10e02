"""What `gear doctor` finds of logins by SSH."""

from __future__ import annotations

import pytest

from geard.doctor.logins import judged, names


@pytest.mark.parametrize(
    ("wrong", "state", "remedy"),
    [
        ("", "ok", ""),
        ("good", "broken", "sshd -t says what"),
        ("heeded", "missing", "gear setup"),
        ("door", "broken", "systemctl start geard-join.socket"),
        ("runs", "advice", "systemctl enable --now ssh.service"),
    ],
)
def test_what_is_wrong_is_told_with_what_helps(wrong: str, state: str, remedy: str) -> None:
    found = judged(good=wrong != "good", heeded=wrong != "heeded", door=wrong != "door", runs=wrong != "runs")
    assert (found.state, found.remedy.startswith(remedy)) == (state, True)
    assert bool(found.costs) == bool(wrong)


def test_names() -> None:
    assert names("passwd: files systemd\n").state == "ok"
    found = names("passwd: files\n")
    assert (found.state, "libnss-systemd" in found.remedy) == ("advice", True)
