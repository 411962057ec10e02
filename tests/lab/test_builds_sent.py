"""Sources that are sent to the machine that builds: folders, archives, standard input; what is refused of them."""

from __future__ import annotations

import json
import shlex

import pytest
from tests.lab import test_builds
from tests.lab.conftest import SETTINGS, Shell, eventually
from tests.lab.test_builds import SITE, WORK, inside, put, shown

pytestmark = pytest.mark.lab

building, builder = test_builds.building, test_builds.builder
SOURCES = "/var/lib/containers/builds/.sources"
BASE = "geard/build-static"


@pytest.fixture
def there(builder: Shell) -> Shell:
    """Asked by its agent, as another machine's is."""
    builder.sh("systemctl start geard.service")
    return builder


def left(host: Shell) -> list[str]:
    return host.sh(f"ls {SOURCES} 2>/dev/null; ls /var/tmp | grep gear-build", check=False).stdout.split()


def test_a_folder_is_sent(there: Shell) -> None:
    source = put(there, {**SITE, "web/only/deep.txt": "deep\n"})
    there.sh(f"mkfifo {source}/pipe; ln -s index.html {source}/link")
    there.sh(f"cd {WORK} && gear build ./src {BASE} t-sent --at localhost --name sent")
    assert inside(there, "t-sent", "cat", "/srv/site/link") == SITE["index.html"]
    assert shown(there, "sent")["Source"].startswith("sent://")
    # A folder in which there is one folder alone is still that, and part of it may be named.
    there.sh(f"cd {WORK}/src && gear build './web#:only' {BASE} t-part --host localhost")
    assert inside(there, "t-part", "cat", "/srv/site/deep.txt") == "deep\n"
    assert left(there) == []
    for words, said in (
        (["./nothing", BASE, "t-x", "--at", "localhost"], "there is no ./nothing here"),
        (["./src#main", BASE, "t-x", "--at", "localhost"], "without a ref"),
    ):
        refused = there.sh(f"cd {WORK} && gear build {shlex.join(words)}", check=False)
        assert refused.returncode and said in refused.stderr, refused.stderr


def test_standard_input_and_plain_http(there: Shell) -> None:
    put(there, SITE)
    there.sh(f"cd {WORK} && tar czf site.tgz src")
    there.sh(f"gear build - {BASE} t-in --at localhost <{WORK}/site.tgz")
    said = there.sh(f"gear build - {BASE} t-in --no-wait --name behind <{WORK}/site.tgz").stdout
    assert "is accepted" in said
    there.gear("builds", "log", "behind")
    assert shown(there, "behind")["State"] == "done"
    there.sh(f"curl -sS --fail-with-body -T {WORK}/site.tgz http://localhost:43273/build-source/by-curl")
    body = {"BaseImage": BASE, "Source": "sent://by-curl", "Tag": "t-curl", "Name": "curl"}
    assert "t-curl is " in there.agent("POST", "/build-image?follow=true", body).stdout
    again = there.agent("POST", "/build-image", {**body, "Name": "curl2"}).stdout
    assert "no source by-curl was sent" in again  # one build has taken it
    assert inside(there, "t-curl", "cat", "/srv/site/index.html") == SITE["index.html"]
    assert left(there) == []


def test_hostile_archives_and_too_much(there: Shell) -> None:
    there.sh(
        f"cd {WORK} && ln -s /etc out && mknod null c 1 3; tar cf link.tar out; tar cf device.tar null; echo x >x;"
        " tar cPf absolute.tar /etc/hostname; tar cPf up.tar --transform 's|^x|../x|' x;"
        " head -c 999 /dev/urandom >none.tar"
    )
    for name in ("link", "device", "absolute", "up", "none"):
        said = there.sh(f"cd {WORK} && gear build ./{name}.tar {BASE} t-x --at localhost", check=False)
        assert said.returncode == 1 and ("the archive has" in said.stderr or "no archive" in said.stderr), name
    there.run(["tee", SETTINGS], stdin='[builds]\nsource-limit = "1m"\n')
    there.sh("systemctl restart geard.service")
    large = there.sh(f"head -c 3000000 /dev/zero | gear build - {BASE} t-x --at localhost", check=False)
    assert large.returncode and "the source is larger than" in large.stderr
    curl = "head -c 3000000 /dev/zero | curl -sS -T - http://localhost:43273/build-source/large"
    assert "the source is larger than" in there.sh(curl, check=False).stdout
    there.run(["rm", "-f", SETTINGS])
    there.sh("systemctl restart geard.service")
    assert left(there) == []


def test_a_client_that_is_killed_in_the_middle_leaves_nothing(there: Shell) -> None:
    there.sh(f"mkfifo {WORK}/pipe")
    client = f"exec gear build - {BASE} t-x --at localhost <{WORK}/pipe"
    for name, script in (
        ("client", client),
        ("writer", f"{{ head -c 5000000 /dev/zero; exec sleep 600; }} >{WORK}/pipe"),
    ):
        there.sh(f"systemd-run --quiet --collect --unit test-{name} sh -c {shlex.quote(script)}")
    deleted = "ls -l /proc/$(systemctl show -P MainPID geard.service)/fd | grep -c '.sources/.*deleted'"
    eventually(lambda: there.sh(deleted, check=False).stdout.strip() == "1", 60)
    there.sh("systemctl kill -s KILL test-client test-writer")
    eventually(lambda: there.sh(deleted, check=False).stdout.strip() == "0", 60)
    assert left(there) == []
    assert json.loads(there.agent("GET", "/builds").stdout)["Builds"] == []
