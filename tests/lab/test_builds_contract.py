"""The scripts' contract beyond the plain case: the images of source-to-image's own tests, scripts by HTTP, a base
without tar or a shell, caches, an image to run on, who is told.
"""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Generator

import pytest
from tests.lab import test_builds
from tests.lab.conftest import SETTINGS, Shell, eventually
from tests.lab.test_builds import SITE, WORK, assembling, image, inside, put, shown

pytestmark = pytest.mark.lab

building, builder = test_builds.building, test_builds.builder

# The shapes of sti-fake, sti-fake-user and sti-fake-broken, by the contract of 2014: where the scripts are says a
# variable, and what is saved goes into /tmp/artifacts.
FAKE = {
    "assemble": "mkdir -p /home/fake/src; cp -R /tmp/src/. /home/fake/src; touch /home/fake/assemble-invoked\n"
    "[ ! -e /tmp/artifacts/saved ] || cp /tmp/artifacts/saved /home/fake/save-artifacts-invoked",
    "run": "touch /home/fake/run-invoked; cat /home/fake/src/index.html",
    "save-artifacts": "echo $(id -u) >/tmp/artifacts/saved",
}
HEAD = "FROM geard/build-static\nENV STI_SCRIPTS_URL=image:///fake\nLABEL io.openshift.s2i.scripts-url=\n"
SERVER = """
import http.server, os, sys

class Door(http.server.SimpleHTTPRequestHandler):
    def do_POST(self):
        told = self.rfile.read(int(self.headers["Content-Length"]))
        with open("told.new", "wb") as file:
            file.write(self.headers["Content-Type"].encode() + b"\\n" + told)
        os.rename("told.new", "told")
        self.send_response(200)
        self.end_headers()

http.server.ThreadingHTTPServer(("127.0.0.1", 23456), Door).serve_forever()
"""


def make_fake(host: Shell, name: str) -> str:
    """The image NAME to build on."""
    files = {f"fake/bin/{name}": f"#!/bin/sh\nset -e\n{script}\n" for name, script in FAKE.items()}
    home = "RUN mkdir -p /home/fake && chown 431 /home/fake\n"
    text = (
        HEAD
        + {
            "t-fake-user": f"{home}COPY fake/bin /fake/\nUSER 431\n",
            "t-fake-broken": "COPY fake/bin/run /fake/run\n",
        }[name]
    )
    host.run(["podman", "build", "-q", "-t", name, "-f", "-", put(host, files, "fakes")], stdin=text)
    return name


@pytest.fixture
def served(builder: Shell) -> Generator[Shell]:
    """A server on loopback, for scripts and for who is told; both are allowed."""
    builder.sh(f"mkdir -p {WORK}/served")
    builder.run(["tee", f"{WORK}/server.py"], stdin=SERVER)
    run = f"systemd-run -q --collect --unit=test-server --working-directory={WORK}/served"
    builder.sh(f"{run} python3 {WORK}/server.py")
    builder.run(
        ["tee", SETTINGS], stdin='[fetch]\nallow = ["127.0.0.0/8"]\n[callbacks]\nallow = ["127.0.0.0/8"]\n'
    )
    builder.sh("systemctl restart geard.service")
    eventually(lambda: builder.sh("curl -s -m 3 127.0.0.1:23456/", check=False).returncode == 0, 60)
    yield builder
    builder.sh("systemctl stop test-server")
    builder.run(["rm", "-f", SETTINGS])
    builder.sh("systemctl restart geard.service")


def test_clean_and_incremental_builds_of_2014_by_a_user(builder: Shell) -> None:
    source = put(builder, SITE)
    words = ["build", source, make_fake(builder, "t-fake-user"), "t-made"]
    builder.gear(*words)
    assert inside(builder, "t-made", "ls", "/home/fake").split() == ["assemble-invoked", "src"]
    assert builder.run(["podman", "run", "--rm", "--network=none", "t-made"]).stdout == SITE["index.html"]
    before = image(builder, "t-made")["Id"]
    builder.gear(*words, "--rm")
    assert inside(builder, "t-made", "cat", "/home/fake/save-artifacts-invoked") == "431\n"
    assert inside(builder, "t-made", "id", "-u") == "431\n"
    assert builder.run(["podman", "image", "exists", before], check=False).returncode == 1


def test_the_broken_one_of_2014(builder: Shell) -> None:
    base = make_fake(builder, "t-fake-broken")
    failed = builder.gear("build", put(builder, SITE), base, "t-x", check=False)
    assert failed.returncode == 1 and "there is no assemble script for t-fake-broken" in failed.stderr


def test_scripts_by_http_and_a_callback(served: Shell) -> None:
    put(served, {"bin/assemble": "#!/bin/sh\nmkdir /made; echo served >/made/by\n"}, "served")
    url = "http://127.0.0.1:23456"
    words = ["build", put(served, SITE), "geard/build-static", "t-http"]
    served.gear(*words, "--scripts", f"{url}/bin", "--callback-url", f"{url}/", "--name", "told")
    assert inside(served, "t-http", "cat", "/made/by") == "served\n"
    assert image(served, "t-http")["Config"]["Cmd"] == ["/usr/libexec/s2i/run"]  # the server has none: 404
    eventually(lambda: served.sh(f"test -e {WORK}/served/told", check=False).returncode == 0, 60)
    type, _, told = served.run(["cat", f"{WORK}/served/told"]).stdout.partition("\n")
    assert type.startswith("application/json") and json.loads(told)["Outcome"] == "done"
    # One that fails is told too, and nothing that answers is no reason to wait.
    served.sh(f"rm {WORK}/served/told")
    failed = served.gear(*words, "--scripts", "http://127.0.0.1:1/bin", "--callback-url", f"{url}/", check=False)
    assert failed.returncode == 1 and "127.0.0.1:1" in failed.stderr
    eventually(lambda: served.sh(f"test -e {WORK}/served/told", check=False).returncode == 0, 60)
    told = served.run(["cat", f"{WORK}/served/told"]).stdout.partition("\n")[2]
    assert json.loads(told)["Outcome"] == "failed"


def test_a_base_without_tar_or_a_shell(builder: Shell) -> None:
    """What it has is one program, which the source's script names."""
    script = """
        id=$(podman create geard/build-static x); mkdir tree opt; podman export $id | tar x -C tree; podman rm $id
        cp -L tree/bin/busybox opt 2>/dev/null || cp -L tree/usr/bin/busybox opt
        rm -rf tree/bin tree/usr/bin tree/sbin tree/usr/sbin; mv opt tree/
        tar c -C tree . | podman import -q - t-bare-base
        ! podman run --rm --network=none t-bare-base sh -c true
    """
    builder.sh(f"set -e; cd {WORK}; {script}")
    assemble = "#!/opt/busybox sh\n/opt/busybox mkdir /made && /opt/busybox cp -R /tmp/src/. /made/\n"
    source = put(builder, {**SITE, ".s2i/bin/assemble": assemble})
    builder.gear("build", source, "t-bare-base", "t-bare")
    assert inside(builder, "t-bare", "/opt/busybox", "cat", "/made/index.html") == SITE["index.html"]


def test_a_cache_is_kept_for_the_next_build_of_that_source(builder: Shell) -> None:
    count = "mkdir -p /made; echo x >>/var/kept/times; cp /var/kept/times /made/"
    source = put(builder, assembling(count), f"cache-{secrets.token_hex(4)}")
    for times in (1, 2):
        builder.gear("build", source, "geard/build-static", "t-cache", "--cache", "/var/kept", "--clean")
        assert inside(builder, "t-cache", "cat", "/made/times") == "x\n" * times
    assert inside(builder, "t-cache", "sh", "-c", "ls -A /var/kept") == ""  # and it is no part of the image


def test_what_is_built_in_one_image_and_runs_on_another_is_taken_over(builder: Shell) -> None:
    source = put(builder, SITE)
    words = ["build", source, "geard/build-static", "t-two", "--runtime-image", "geard/test-tools",
             "--runtime-artifact", "/srv/site:srv"]  # fmt: skip
    kept: list[str] = []
    for more in (["--name", "first"], ["--name", "second", "--rm"]):
        builder.gear(*words, *more)
        kept.append(inside(builder, "t-two", "cat", "/srv/kept/made"))
    assert kept[0] == kept[1]
    assert [shown(builder, name)["Incremental"] for name in ("first", "second")] == [False, True]
    assert "t-two latest-builder" in builder.sh("podman images --format '{{.Repository}} {{.Tag}}'").stdout


def test_one_that_kills_its_parent_and_all_it_sees(builder: Shell) -> None:
    script = "(kill -9 $PPID; kill -9 1; kill -9 -1) & wait; kill -9 $PPID; sleep 1"
    source = put(builder, assembling(script))
    builder.gear("build", source, "geard/build-static", "t-x", "--name", "kills", check=False)
    assert shown(builder, "kills")["State"] in ("done", "failed")
    eventually(lambda: not test_builds.units(builder), 60)
    assert "build-" not in builder.sh("podman ps -a --format '{{.Names}}'").stdout
    put(builder, assembling("mkdir /made"))
    builder.gear("build", source, "geard/build-static", "t-next")


PHASES = """
import json, subprocess, sys, time
file, seen, end = sys.argv[1], [], time.monotonic() + 150
open("/run/test-phases", "w").close()
while time.monotonic() < end:
    try:
        build = json.load(open(file))
    except (FileNotFoundError, ValueError):
        build = {}
    if build.get("State") in ("done", "failed", "cancelled"):
        break
    step = build.get("Step") or ""
    if step and step not in seen:
        seen.append(step)
        subprocess.run(["systemctl", "kill", "-s", "KILL", "geard.service"], check=False)
    time.sleep(0.001)
print(" ".join(seen))
"""


def test_an_agent_that_is_killed_in_each_phase(builder: Shell) -> None:
    source = put(
        builder, {**SITE, ".s2i/bin/assemble": "#!/bin/sh\nmkdir -p /srv/site; cp /tmp/src/*.html /srv/site\n"}
    )
    builder.sh("systemctl start geard.service; rm -f /run/test-phases")
    state = "/var/lib/containers/builds/phases/state.json"
    builder.sh(f"systemd-run -q --collect --unit=test-phases -p StandardOutput=file:{WORK}/seen "
               f"python3 -c {shlex.quote(PHASES)} {state}")  # fmt: skip
    eventually(lambda: builder.sh("ls /run/test-phases", check=False).returncode == 0)  # the first phase is short
    body = {"BaseImage": "geard/build-static", "Source": source, "Tag": "t-phases", "Name": "phases"}
    builder.agent("POST", "/build-image", {**body, "Start": "phases"})
    eventually(lambda: builder.sh("systemctl is-active test-phases", check=False).returncode != 0, 180)
    seen = builder.run(["cat", f"{WORK}/seen"]).stdout.split()
    assert {"fetch", "images", "scripts", "assemble", "commit", "start"} <= set(seen)
    eventually(lambda: builder.agent("GET", "/builds/phases", check=False).returncode == 0, 60)
    build = json.loads(builder.agent("GET", "/builds/phases").stdout)
    assert build["State"] == "done" and build["Image"] == image(builder, "t-phases")["Id"]
    eventually(lambda: builder.status("phases")["ActiveState"] == "active", 60)
    assert "---> done" in builder.agent("GET", "/builds/phases/log").stdout


def test_its_keeper_is_killed(builder: Shell) -> None:
    source = put(builder, assembling("echo begun; sleep 600"))

    def kill(name: str, keeper: str) -> None:
        builder.gear("build", source, "geard/build-static", "t-x", "--name", name, "--no-wait")
        eventually(lambda: "begun" in builder.gear("builds", "log", "--no-follow", name).stdout, 120)
        builder.sh(f"kill -9 {keeper}")
        eventually(lambda: shown(builder, name)["State"] == "failed", 120)
        eventually(lambda: not test_builds.units(builder), 60)
        assert "build-" not in builder.sh("podman ps -a --format '{{.Names}}'").stdout
        assert not builder.sh(f"ls /var/lib/containers/builds/{name}/work", check=False).stdout

    kill("conmon", "$(podman container inspect --format '{{.State.ConmonPid}}' build-conmon)")
    kill("podman", "$(pgrep -f -x '/usr/bin/podman .*start --attach build-podman')")
