"""Tests in a virtual machine: what only a kernel of its own has. It is a lab host like others."""

from __future__ import annotations

import pytest
from lab.vm import Machine
from tests.lab.conftest import Shell, engine, h1, host, lab

__all__ = ["engine", "h1", "host", "lab"]


@pytest.fixture(scope="module", autouse=True)
def security(request: pytest.FixtureRequest, h1: Shell) -> None:
    """The kernel has SELinux, or AppArmor where a file of tests says so: half a minute to boot between the two."""
    wanted = str(getattr(request.node.obj, "SECURITY", "selinux"))
    machine = h1.lab.host(h1.name)
    assert isinstance(machine, Machine), "these tests need a virtual machine: GEARD_SUITE=vm"
    if machine.security() == wanted:
        return
    machine.choose(wanted)
    h1.sh("sync")
    h1.lab_does("kill", h1.name)
    h1.lab_does("up", "1")
