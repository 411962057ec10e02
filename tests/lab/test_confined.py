"""What geard's own services may do: no more than their units say, by systemd's own reckoning. That they still do
their work is what every other test here shows; a pull, a boot and a machine going down those of images and boots.
"""

from __future__ import annotations

import pytest
from tests.lab.conftest import Shell

pytestmark = pytest.mark.lab

# Exposure as `systemd-analyze security` has it, ten for no confinement at all; a little room for other versions.
MOST = {
    "geard.service": 9.3,
    "geard-boot.service": 9.3,
    "geard-join@x.service": 9.3,
    "geard-pull@x.service": 7.7,
    "geard-host.service": 4.5,
    "geard-going-down.service": 1.7,
}


@pytest.mark.parametrize("unit", MOST)
def test_exposure(host: Shell, unit: str) -> None:
    threshold = f"--threshold={int(MOST[unit] * 10)}"
    done = host.run(["systemd-analyze", "security", "--no-pager", threshold, unit], check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_what_makes_the_rules_may_do_just_that(host: Shell) -> None:
    """The unit's own confinement, tried: it becomes nobody else, sets no mode, no clock."""
    shown = host.run(["systemctl", "show", "geard-host.service"]).stdout.splitlines()
    names = ("NoNewPrivileges", "CapabilityBoundingSet", "RestrictNamespaces", "SystemCallArchitectures",
             "RestrictSUIDSGID", "MemoryDenyWriteExecute", "LockPersonality")  # fmt: skip
    properties = [word for line in shown if line.partition("=")[0] in names for word in ("-p", line)]
    tried = (
        "setpriv --reuid=1 true; echo user $?; chmod u+s /root/proof; echo mode $?; date -s 12:00; echo clock $?"
    )
    host.sh("rm -f /root/proof; touch /root/proof; chmod 600 /root/proof")
    words = ["systemd-run", "--quiet", "--wait", "--pipe", *properties, "sh", "-c", tried]
    said = host.run(words, check=False).stdout.splitlines()
    assert len(properties) == 2 * len(names)
    assert [line for line in said if line.endswith(" 0")] == [], said
    assert host.sh("stat -c %a /root/proof; rm /root/proof").stdout == "600\n"
