"""/etc/geard/geard.toml on a real host: which registries images come from, what gears get, whose programs run."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.conftest import Shell, eventually

pytestmark = pytest.mark.lab

TOOLS = "docker.io/geard/test-tools"
APP = "geard/busybox-http-app"
# Speaks to this user alone; the password's hash is bcrypt's, the only one that docker-registry takes.
USER, PASSWORD = "me", "opensesame"
HASH = "$2y$05$abcdefghijklmnopqrstuuQbLfdQZSxZ9gjhA5V9o8Tyc6aQRO0Qi"
CLOSED = """\
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/closed-registry}}
http: {addr: ":5001"}
auth: {htpasswd: {realm: lab, path: /root/htpasswd}}
"""


def settle(host: Shell, text: str) -> None:
    host.run(["tee", "/etc/geard/geard.toml"], stdin=text)


@pytest.fixture
def settled(host: Shell) -> Generator[Shell]:
    """A host whose settings a test may write."""
    yield host
    host.sh("rm -f /etc/geard/geard.toml")


@pytest.fixture
def registry(settled: Shell) -> Generator[str]:
    """A registry without TLS that podman itself knows nothing of; it holds geard/only-there:1 and acme/app:1."""
    host, at = settled, f"{settled.address}:5000"
    host.run(["systemctl", "start", "docker-registry"])
    eventually(lambda: host.run(["curl", "-s", f"http://{at}/v2/"], check=False).returncode == 0)
    for name in (f"{at}/geard/only-there:1", f"{at}/acme/app:1"):
        host.sh(
            f"podman tag {TOOLS} {name} && podman push -q --tls-verify=false {name} && podman untag {TOOLS} {name}"
        )
    yield at
    host.run(["systemctl", "stop", "docker-registry"])
    host.sh(
        "podman images --format '{{.Repository}}:{{.Tag}}' | grep -E 'only-there|acme' | xargs -r -n1 podman rmi"
    )


def test_a_registry_without_tls_is_asked_where_the_settings_say_so(settled: Shell, registry: str) -> None:
    host, image = settled, f"{registry}/geard/only-there:1"
    refused = host.gear("pull", image, check=False)
    assert refused.returncode == 1
    assert f'insecure = ["{registry}"]' in refused.stderr, "it says what would help"
    settle(host, f'[registries]\ninsecure = ["{registry}"]\n')
    assert "sha256:" in host.gear("pull", image).stdout


def test_the_default_registry_completes_names(settled: Shell, registry: str) -> None:
    settle(settled, f'[registries]\ndefault = "{registry}"\ninsecure = ["{registry}"]\n')
    assert "short is running" in settled.gear("install", "geard/only-there:1", "short", "--start").stdout
    assert f"{registry}/geard/only-there" in settled.sh("podman images").stdout


def test_a_mirror_is_asked_first_and_the_image_bears_the_name_that_was_asked_for(
    settled: Shell, registry: str
) -> None:
    host = settled
    settle(host, f'[registries]\ninsecure = ["{registry}"]\nmirrors = {{ "docker.io" = ["{registry}"] }}\n')
    assert "mirrored is running" in host.gear("install", "acme/app:1", "mirrored", "--start").stdout
    names = host.sh("podman images --format '{{.Repository}}:{{.Tag}}'").stdout.split()
    assert "docker.io/acme/app:1" in names and f"{registry}/acme/app:1" not in names
    missing = host.gear("pull", "acme/nosuch", check=False)
    assert "docker.io/acme/nosuch" in missing.stderr, "then the registry itself is asked"


def test_images_that_are_not_allowed_are_refused(settled: Shell, registry: str) -> None:
    host = settled
    settle(host, f'[registries]\ninsecure = ["{registry}"]\nallow = ["{registry}/acme/*"]\n')
    refused = host.gear("install", f"{registry}/geard/only-there:1", "refused", "--start", check=False)
    assert refused.returncode == 4
    assert "[registries] allow in /etc/geard/geard.toml" in refused.stderr
    assert host.gear("status", "refused", check=False).returncode == 5, "nothing was installed"
    host.gear("install", "geard/test-tools", "here")  # an image that is here is not pulled
    refused = host.gear("update", "here", "--image", f"{registry}/geard/only-there:1", check=False)
    assert refused.returncode == 4
    assert host.gear("pull", f"{registry}/acme/app:1").returncode == 0


def test_a_registry_that_wants_a_password(settled: Shell) -> None:
    host, at = settled, f"{settled.address}:5001"
    host.run(["tee", "/root/closed.yml"], stdin=CLOSED)
    host.run(["tee", "/root/htpasswd"], stdin=f"{USER}:{HASH}\n")
    host.sh("systemd-run -q --unit=closed-registry docker-registry serve /root/closed.yml")
    image = f"{at}/geard/closed:1"
    try:
        eventually(lambda: host.run(["curl", "-s", f"http://{at}/v2/"], check=False).returncode == 0)
        host.sh(f"podman push -q --tls-verify=false --creds={USER}:{PASSWORD} {TOOLS} {image}")
        settle(host, f'[registries]\ninsecure = ["{at}"]\n')
        refused = host.gear("install", image, "closed", "--start", check=False)
        assert refused.returncode == 4 and f"gear login {at}" in refused.stderr
        wrong = host.gear("login", at, "-u", USER, "--password-stdin", stdin="wrong\n", check=False)
        assert wrong.returncode == 4 and "does not accept" in wrong.stderr
        host.gear("login", at, "-u", USER, "--password-stdin", stdin=f"{PASSWORD}\n")
        assert "closed is running" in host.gear("start", "closed").stdout
    finally:
        host.sh(
            "systemctl stop closed-registry; rm -rf /var/lib/closed-registry /etc/geard/registries.json",
            check=False,
        )
        host.sh(f"gear delete closed; podman rmi {image}", check=False)


def test_what_a_gear_gets_where_its_install_says_nothing(settled: Shell) -> None:
    host = settled
    settle(host, '[containers]\nmemory = { container-small = "96M" }\npids = 77\nstop-timeout = 3\n')
    host.gear("install", TOOLS, "plain", "--start")
    host.gear("install", TOOLS, "said", "--start", "--pids", "50")
    form = "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.Config.StopTimeout}}"
    assert host.run(["podman", "inspect", "ctr-plain", "-f", form]).stdout == f"{96 << 20} 77 3\n"
    assert host.run(["podman", "inspect", "ctr-said", "-f", form]).stdout == f"{96 << 20} 50 3\n"
    assert "77               /etc/geard/geard.toml:3" in host.gear("cat", "plain").stdout


def test_a_mistake_is_told_with_its_place_and_stops_nothing_that_runs(settled: Shell) -> None:
    host = settled
    host.gear("install", APP, "web", "--start")
    settle(host, "[registries]\nalow = []\n")
    wrong = host.gear("config", "check", check=False)
    assert wrong.returncode == 64
    assert "/etc/geard/geard.toml: [registries]" in wrong.stderr and "alow" in wrong.stderr
    assert "web is running" in host.gear("restart", "web").stdout


def _told(host: Shell) -> list[dict[str, Any]]:
    return [json.loads(line) for line in host.sh("cat /root/told 2>/dev/null || true").stdout.splitlines()]


def test_programs_are_told_of_each_gear(settled: Shell) -> None:
    host = settled
    host.sh("rm -f /root/told; printf '#!/bin/sh\\njq -c . >> /root/told\\n' > /root/tell && chmod +x /root/tell")
    settle(host, "[hooks]\n" + "".join(f'{name} = ["/root/tell"]\n' for name in ("added", "changed", "deleted")))
    host.gear("install", APP, "web", "--start", "-p", "8080:0", "--label", "team=shop")
    host.gear("install", APP, "web", "--start", "-p", "8080:0", "--label", "team=shop")
    host.gear("update", "web", "--memory", "64m")
    host.gear("delete", "web")
    told = _told(host)
    assert [gear["Occasion"] for gear in told] == ["added", "changed", "deleted"], (
        "each once; the same again is none"
    )
    assert (told[0]["Id"], told[0]["Labels"], told[0]["Ports"][0]["Internal"]) == ("web", {"team": "shop"}, 8080)
    assert told[1]["Limits"]["Memory"] == 64 << 20


def test_the_rule_of_the_page_on_hooks(settled: Shell) -> None:
    """docs/HOOKS.md's program, as it stands there."""
    host = settled
    found = re.search(r"^```sh\n(.*?)^```", Path("docs/HOOKS.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    host.run(
        ["sh", "-c", "cat > /usr/local/sbin/gear-rules && chmod +x /usr/local/sbin/gear-rules"], stdin=found[1]
    )
    try:
        rule = '["/usr/local/sbin/gear-rules"]'
        settle(host, f"[hooks]\nadded = {rule}\nchanged = {rule}\ndeleted = {rule}\n")
        refused = host.gear("install", APP, "web", "--start", check=False)
        assert refused.returncode == 1
        assert "gear-rules failed: a gear needs --label team=NAME" in refused.stderr
        eventually(lambda: host.status("web")["ActiveState"] != "active")
        assert any("[hooks]" in text for text in host.status("web")["Advice"])
        assert "web is running" in host.gear("update", "web", "--label", "team=shop").stdout
        pid = host.status("web")["Pid"]
        refused = host.gear("update", "web", "-p", "8080:80", check=False)
        assert refused.returncode == 1 and "ports below 1024" in refused.stderr
        assert host.status("web")["Pid"] == pid, "what runs goes on"
        assert "web is running" in host.gear("rollback", "web").stdout
        assert host.gear("delete", "web").stdout == "Deleted web\n"
    finally:
        host.sh("rm -f /usr/local/sbin/gear-rules")
