"""The life of a gear on a real host: what an admin does in the first hour."""

from __future__ import annotations

import json

import pytest
from tests.lab.conftest import BOTH, Shell, eventually

pytestmark = pytest.mark.lab

APP = "geard/busybox-http-app"
TOOLS = "geard/test-tools"


@BOTH
def test_the_main_job(host: Shell) -> None:
    """install --start -p 8080:0, and curl gets the page."""
    done = host.gear("install", APP, "my-sample-service", "--start", "-p", "8080:0")
    assert "is running" in done.stdout
    port = host.port("my-sample-service")
    assert f"8080 -> {port}" in done.stdout
    assert "my-sample-service" in host.page(port)
    assert "my-sample-service" in host.page(port, host.address)
    status = host.status("my-sample-service")
    assert (status["ActiveState"], status["SubState"]) == ("active", "running")
    assert status["InstalledVersion"] == status["RunningVersion"]
    assert status["Engine"] == host.engine
    # Docker knows a digest only of what came from a registry.
    assert status["Digest"].startswith("sha256:") or host.engine == "docker"


@BOTH
def test_stop_start_restart(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", "8080:0")
    port, first = host.port("web"), host.status("web")["Pid"]
    host.gear("restart", "web")
    second = host.status("web")["Pid"]
    assert first != second
    said = host.gear("stop", "web").stdout
    assert "web is stopped" in said
    assert host.status("web")["ActiveState"] == "inactive"
    assert host.containers == []
    assert host.gear("stop", "web").returncode == 0, "asking twice is harmless"
    host.gear("start", "web")
    host.gear("start", "web")
    assert host.port("web") == port, "a port is kept"
    assert "web" in host.page(port)


def test_install_alone_starts_nothing(host: Shell) -> None:
    host.gear("install", APP, "quiet")
    status = host.status("quiet")
    assert status["ActiveState"] == "inactive"
    assert "loaded (/var/lib/containers/units/qu/ctr-quiet.service; enabled)" in status["Loaded"]
    assert host.gear("list", "-q").stdout == ""
    assert host.gear("list", "-a", "-q").stdout == "quiet\n"
    for path in ("/var/lib/containers/units/qu/ctr-quiet.service", "/var/lib/containers/units/qu/quiet"):
        host.run(["su", "-s", "/bin/sh", "nobody", "-c", f"ls -d {path} && cat {path}/* {path} | wc -l"])


@BOTH
def test_exposed_ports_are_published_unless_told_otherwise(host: Shell) -> None:
    host.gear("install", APP, "open", "--start")
    assert "open" in host.page(host.port("open"))
    host.gear("install", APP, "shut", "-p", "none")
    assert json.loads(host.gear("ports", "-o", "json", "shut").stdout)[0]["Ports"] == []


def test_the_same_port_is_refused(host: Shell) -> None:
    host.gear("install", APP, "first", "-p", "8080:39485")
    refused = host.gear("install", APP, "second", "-p", "8080:39485", check=False)
    assert refused.returncode == 1
    assert "39485" in refused.stderr and "first" in refused.stderr
    assert host.gear("status", "second", check=False).returncode == 5
    again = host.gear("install", APP, "second", "-p", "8080:39485", check=False)
    assert again.returncode == 1, "the first one's port is not freed by a failure"
    assert host.sh("ls /var/lib/containers/units | sort").stdout.split() == ["fi"]


@BOTH
def test_delete_leaves_nothing_but_what_is_kept(host: Shell) -> None:
    before = host.sh("find /var/lib/containers/units /var/lib/containers/slots /var/lib/containers/ports").stdout
    host.gear("install", TOOLS, "gone", "--start", "-p", "80:0", "-v", "/data", "A=1")
    host.inside("gone", "sh", "-c", "echo kept > /data/file")
    assert host.gear("delete", "gone").stdout == "Deleted gone\n"
    assert host.gear("status", "gone", check=False).returncode == 5
    assert host.containers == []
    assert host.run(["systemctl", "is-active", "ctr-gone.service"], check=False).stdout == "inactive\n"
    host.gear("install", TOOLS, "gone", "--start", "-v", "/data")
    assert host.inside("gone", "cat", "/data/file").stdout == "kept\n"
    assert host.gear("env", "gone").stdout == "A=1\n"
    host.gear("delete", "--purge", "gone")
    assert host.gear("delete", "gone").stdout == "gone was not there\n"
    after = host.sh("find /var/lib/containers/units /var/lib/containers/slots /var/lib/containers/ports").stdout
    assert set(after.split()) - set(before.split()) <= {
        "/var/lib/containers/ports/interfaces/1/40",
        "/var/lib/containers/ports/interfaces/1/next",
        "/var/lib/containers/slots/next",
    }
    assert host.sh("find /var/lib/containers/data /var/lib/containers/env -name 'gone*'").stdout == ""


def test_several_gears_at_once(host: Shell) -> None:
    done = host.gear("install", APP, "web-1", "web-2", "web-3", "--start")
    assert [line.split(":")[0] for line in done.stdout.splitlines() if "is running" in line] == [
        "web-1",
        "web-2",
        "web-3",
    ]
    table = host.gear("list").stdout.splitlines()
    assert table[0].split()[:4] == ["ID", "SERVER", "ACTIVE", "SUB"]
    assert [line.split()[0] for line in table[1:]] == ["web-1", "web-2", "web-3"]
    mixed = host.gear("status", "web-1", "nosuch", "web-2", check=False)
    assert mixed.returncode == 5
    assert "web-1" in mixed.stdout and "web-2" in mixed.stdout and "nosuch" in mixed.stderr


@BOTH
def test_reinstall(host: Shell) -> None:
    """Unchanged: nothing. Changed: at the next start, or at once with --start. Ports are kept."""
    host.gear("install", APP, "web", "--start", "-p", "8080:0")
    port, pid = host.port("web"), host.status("web")["Pid"]
    assert "unchanged" in host.gear("install", APP, "web", "--start", "-p", "8080:0").stdout
    assert host.status("web")["Pid"] == pid
    host.gear("install", APP, "web", "-p", "8080:0", "--memory", "128m")
    status = host.status("web")
    assert status["Pid"] == pid and status["RunningVersion"] != status["InstalledVersion"]
    assert any("running version" in text for text in status["Advice"])
    host.gear("install", APP, "web", "--start", "-p", "8080:0", "--memory", "128m")
    status = host.status("web")
    assert status["Pid"] != pid and status["RunningVersion"] == status["InstalledVersion"]
    assert host.port("web") == port
    assert host.run([host.engine, "inspect", "ctr-web", "-f", "{{.HostConfig.Memory}}"]).stdout == "134217728\n"


@BOTH
def test_a_changed_port_is_given_back_when_nothing_uses_it(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", "8080:4100")
    host.gear("install", APP, "web", "--start", "-p", "8080:4200")
    assert "web" in host.page(4200)
    assert host.sh("find /var/lib/containers/ports/interfaces -type l -printf '%f '").stdout == "4200 "


@BOTH
def test_reboot_brings_back_what_ran(host: Shell) -> None:
    host.gear("install", APP, "runs", "--start", "-p", "8080:0")
    host.gear("install", APP, "stopped", "--start", "-p", "8080:0")
    host.gear("stop", "stopped")
    port = host.port("runs")
    host.lab_does("reboot", "h1")
    eventually(
        lambda: host.run(["curl", "-s", "-m", "2", f"http://127.0.0.1:{port}/"], check=False).returncode == 0, 30
    )
    assert "runs" in host.page(port)
    assert host.status("stopped")["ActiveState"] == "inactive"
    eventually(lambda: host.run(["systemctl", "is-active", "geard-boot"], check=False).stdout == "active\n")


@BOTH
def test_power_cut(host: Shell) -> None:
    host.gear("install", APP, "runs", "--start", "-p", "8080:0")
    port = host.port("runs")
    host.lab_does("kill", "h1")
    host.lab_does("up", "1")
    eventually(
        lambda: host.run(["curl", "-s", "-m", "2", f"http://127.0.0.1:{port}/"], check=False).returncode == 0, 30
    )
    assert host.status("runs")["Restarts"] == 0


@BOTH
def test_gears_outlive_the_agent(host: Shell) -> None:
    host.agent("PUT", "/container/steady", {"Image": APP, "Started": True, "Ports": [{"Internal": 8080}]})
    eventually(lambda: host.status("steady")["ActiveState"] == "active")
    pid, port = host.status("steady")["Pid"], host.port("steady")
    host.run(["systemctl", "kill", "-s", "KILL", "geard.service"])
    assert "steady" in host.page(port)
    host.run(["systemctl", "restart", "geard.service"])
    host.run(["systemctl", "stop", "geard.service"])
    assert host.agent("GET", "/container/steady/status").stdout.startswith("●"), "its socket wakes it"
    host.run(["dpkg", "--install", "/root/geard.deb"])
    assert host.status("steady")["Pid"] == pid
    assert "steady" in host.page(port)
