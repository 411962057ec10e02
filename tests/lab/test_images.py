"""Images from a registry, and environments from a URL: what the agent fetches for somebody."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

import pytest
from tests.lab.conftest import BOTH, Shell, eventually

pytestmark = pytest.mark.lab

TOOLS = "docker.io/geard/test-tools"


@pytest.fixture
def registry(host: Shell) -> Generator[str]:
    """A registry on h1:5000 that holds geard/pulled:1; the host's own store does not."""
    host.run(["systemctl", "start", "docker-registry"])
    name = "h1:5000/geard/pulled:1"
    eventually(lambda: host.run(["curl", "-s", "http://h1:5000/v2/"], check=False).returncode == 0)
    host.run(["podman", "tag", TOOLS, name])
    host.run(["podman", "push", "-q", name])
    host.run(["podman", "untag", TOOLS, name])
    host.run(["docker", "rmi", name], check=False)
    yield name
    host.run(["systemctl", "stop", "docker-registry"])
    host.run(["podman", "untag", TOOLS, name], check=False)


@BOTH
def test_an_image_is_pulled_by_a_unit_of_its_own(host: Shell, registry: str) -> None:
    done = host.gear("install", registry, "fetched", "--start")
    assert "fetched is running" in done.stdout
    assert host.status("fetched")["Digest"].startswith("sha256:")
    assert "pulling h1:5000/geard/pulled:1" in host.run(["journalctl", "-q", "-u", "geard-pull@*"]).stdout


@BOTH
def test_several_that_want_one_image_share_a_pull(host: Shell, registry: str) -> None:
    host.sh(f"for n in a b c; do gear install {registry} share-$n --start --no-wait & done; wait")
    for name in ("share-a", "share-b", "share-c"):
        eventually(partial(_is_active, host, name), 30)


def _is_active(host: Shell, name: str) -> bool:
    return bool(host.status(name)["ActiveState"] == "active")


@BOTH
def test_an_image_that_no_registry_has_fails_for_good(host: Shell, registry: str) -> None:
    done = host.gear("install", "h1:5000/geard/never", "never", "--start", check=False)
    assert done.returncode == 5
    assert "no image h1:5000/geard/never:latest" in done.stderr
    eventually(lambda: host.status("never")["ActiveState"] == "failed")


@BOTH
def test_pull_and_login(host: Shell, registry: str) -> None:
    assert "sha256:" in host.gear("pull", registry).stdout
    assert "logged in" in host.gear("login", "h1:5000", "-u", "me", "--password-stdin", stdin="secret\n").stdout
    kept = {"podman": "/etc/geard/registries.json", "docker": "/etc/geard/docker/config.json"}
    assert host.run(["stat", "-c", "%a", kept[host.engine]]).stdout == "600\n"


def test_an_environment_from_a_url(host: Shell) -> None:
    host.sh("mkdir -p /srv/env && printf 'FROM=url\\nBOTH=url\\n' > /srv/env/e && chmod -R a+rX /srv/env")
    server = ["systemd-run", "-q", "--unit=env-server", "python3", "-m", "http.server", "8765", "-d", "/srv/env"]
    host.run(server)
    url = f"http://{host.address}:8765/e"
    try:
        eventually(lambda: host.run(["curl", "-s", url], check=False).returncode == 0)
        refused = host.gear("install", TOOLS, "urls", "--env-url", url, check=False)
        assert refused.returncode == 64 and "not a public address" in refused.stderr
        assert host.gear("list", "-a", "-q").stdout == ""
        host.run(["tee", "/etc/geard/geard.toml"], stdin=f'[fetch]\nallow = ["{host.address}/32"]\n')
        host.gear("install", TOOLS, "urls", "--env-url", url, "BOTH=given")
        assert host.gear("env", "urls").stdout == "FROM=url\nBOTH=given\n"
        missing = host.gear("set-env", "urls", "--env-url", url + "x", check=False)
        assert missing.returncode == 64 and "404" in missing.stderr
        log = host.run(["journalctl", "-q", "-u", "env-server"]).stdout
        assert '"GET /e HTTP/1.1" 200' in log
    finally:
        host.run(["systemctl", "stop", "env-server"], check=False)
        host.run(["rm", "-f", "/etc/geard/geard.toml"])
