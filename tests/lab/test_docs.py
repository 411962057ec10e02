"""docs/QUICKSTART.md, done: each of its commands is run in a lab host, in order, and says what stands below it."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.lab.conftest import Shell

pytestmark = pytest.mark.lab

QUICKSTART = Path("docs/QUICKSTART.md")
BLOCK = re.compile(r"^```(sh)?\n(.*?)^```\n(?:```\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)

# Stands in for the image of a registry that no lab host reaches.
CONTAINERFILE = """\
FROM docker.io/geard/test-tools
EXPOSE 80
CMD ["sh", "-c", "trap 'exit 0' TERM; mkdir -p /www; echo Welcome >/www/index.html; \
httpd -f -p 80 -h /www & while :; do wait $!; sleep 1 & done"]
"""


@pytest.fixture
def newcomer(host: Shell) -> Generator[Shell]:
    """A host with the package at hand, images under names of a registry's, and a second host to log in to."""
    host.lab_does("up", "2")
    second = Shell(host.lab, "h2")
    host.sh(
        "cp /root/geard.deb /root/geard_0.1.0_all.deb; rm -f /root/.ssh/*;"
        " ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id"
    )
    host.sh("printf 'IdentityFile ~/.ssh/id\\nStrictHostKeyChecking no\\n' > /root/.ssh/config")
    key = host.sh("cat /root/.ssh/id.pub").stdout
    second.run(
        ["sh", "-c", "mkdir -p -m 700 /root/.ssh; cat > /root/.ssh/authorized_keys; systemctl start ssh"],
        stdin=key,
    )
    for tag in ("1.26", "1.27"):
        host.run(["podman", "build", "-q", "-t", f"docker.io/library/nginx:{tag}", "-"], stdin=CONTAINERFILE)
    yield host
    second.sh("systemctl stop ssh; rm -rf /root/.ssh/authorized_keys", check=False)
    host.sh("pkill -x ssh; rm -rf /etc/geard/geard.toml /root/.ssh /root/geard_*.deb", check=False)
    host.sh("dpkg --install /root/geard.deb && gear setup")
    host.sh("podman rmi -f docker.io/library/nginx:1.26 docker.io/library/nginx:1.27", check=False)


def test_quickstart(newcomer: Shell) -> None:
    blocks = BLOCK.findall(QUICKSTART.read_text())
    assert len(blocks) > 15
    for kind, commands, shown in blocks:
        assert kind == "sh", f"a block that is neither run nor shown below one:\n{commands}"
        done = newcomer.run(["sh", "-ec", commands], seconds=180, check=False)
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        said = done.stdout.splitlines()
        for line in filter(str.strip, shown.splitlines()):
            assert any(_is_shown(line, found) for found in said), (
                f"{commands}\nsays no {line!r} but\n{done.stdout}"
            )


def _is_shown(line: str, found: str) -> bool:
    """Spaces between columns are as wide as their cells; … is anything."""
    pattern = ".*".join(r"\s+".join(map(re.escape, part.split())) for part in line.split("…"))
    return re.search(pattern, " ".join(found.split()).replace(" ", " ")) is not None
