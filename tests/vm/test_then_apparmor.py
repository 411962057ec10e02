"""AppArmor: gears run under podman's own profile, and the kernel holds them to it. By its name the last of
these files: the kernel has to be booted again for it.
"""

from __future__ import annotations

import re

import pytest
from tests.lab.conftest import Shell

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2400)]

SECURITY = "apparmor"
TOOLS = "geard/test-tools"
OWN = ("cat", "/proc/self/attr/current")
PROFILE = r"containers-default-[0-9.]+ \(enforce\)"
MOUNTS = "unshare -Urm sh -c 'mount -t tmpfs none /tmp && echo mounted'"


def test_a_gear_runs_under_podmans_profile(host: Shell) -> None:
    host.gear("install", TOOLS, "held", "--start", "-p", "none", "--stop-timeout", "1")
    profile = host.sh("cat /proc/$(cat /run/geard/gears/ctr-held/pid)/attr/current").stdout.strip()
    assert re.fullmatch(PROFILE, profile)
    assert host.gear("exec", "held", "--", *OWN).stdout.strip() == profile, "who enters it too"

    # it is said
    protections = {fact["Label"]: fact["Text"] for fact in host.status("held")["Facts"]}["Protections"]
    assert f"AppArmor {profile}" in protections
    findings = host.gear("doctor", check=False).stdout
    assert re.search(r"ok +SELinux, AppArmor: AppArmor\n", findings), findings


def test_what_the_profile_denies(host: Shell) -> None:
    """Mounting, in namespaces of its own in which it is root: nothing else keeps it from that."""
    host.gear("install", TOOLS, "held", "--start", "-p", "none", "--stop-timeout", "1")
    tried = host.gear("exec", "held", "--", "sh", "-c", MOUNTS, check=False)
    assert tried.returncode != 0 and tried.stdout == "" and "Permission denied" in tried.stderr, tried
    free = ("--security-opt=apparmor=unconfined", "--security-opt=no-new-privileges", "--network=none")
    users = ("--uidmap=0:3000000:65536", "--gidmap=0:3000000:65536")
    run = ["podman", "run", "--rm", *free, *users, TOOLS, "sh", "-c", MOUNTS]
    assert host.run(run).stdout == "mounted\n"
