"""Builds on a real host: base images out of Debian's packages, podman, what a hostile source tries."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.lab import test_ssh
from tests.lab.conftest import SETTINGS, Shell, eventually
from tests.lab.test_ssh import KEY, OPTIONS

pytestmark = pytest.mark.lab

sshd = test_ssh.sshd

WORK = "/root/builds"
BASES = ("static", "user", "bare", "broken", "python", "node", "c")
SITE = {"index.html": "<h1>built</h1>\n"}


@pytest.fixture(scope="module")
def building(h1: Shell) -> Shell:
    h1.lab_does("images", "githost", *(f"build-{name}" for name in BASES))
    return h1


@pytest.fixture
def builder(building: Shell, host: Shell) -> Generator[Shell]:
    """A host without builds, before and after; nothing of theirs is left."""
    _clear(building)
    building.sh(f"rm -rf {WORK}; mkdir {WORK}")
    yield building
    _clear(building)
    building.run(["rm", "-f", SETTINGS])


def _clear(host: Shell) -> None:
    if ids := host.gear("builds", "list", "-o", "name").stdout.split():
        host.gear("builds", "cancel", *ids)
        eventually(lambda: not units(host), 60)
        host.gear("builds", "remove", *ids)
    host.sh("podman images -q 'localhost/t-*' | xargs -r podman rmi -f; podman image prune -f")


def units(host: Shell) -> list[str]:
    listed = host.sh("systemctl list-units --all --plain --no-legend 'build-*' 'geard-build-*'").stdout
    return listed.split()


def put(host: Shell, files: Mapping[str, str], folder: str = "src") -> str:
    """A source; what is below a `bin` can be run."""
    path = f"{WORK}/{folder}"
    for name, text in files.items():
        host.sh(f"mkdir -p $(dirname {path}/{name})")
        host.run(["tee", f"{path}/{name}"], stdin=text)
        if "/bin/" in name:
            host.sh(f"chmod 755 {path}/{name}")
    return path


def assembling(script: str) -> dict[str, str]:
    return {**SITE, ".s2i/bin/assemble": f"#!/bin/sh\n{script}\n"}


def shown(host: Shell, id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.gear("builds", "show", "-o", "json", id).stdout)
    return found


def image(host: Shell, tag: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.run(["podman", "image", "inspect", tag]).stdout)[0]
    return found


def inside(host: Shell, tag: str, *words: str) -> str:
    return host.run(["podman", "run", "--rm", "--network=none", "--entrypoint", json.dumps(words), tag]).stdout


def test_a_site_becomes_an_image_and_a_gear(builder: Shell) -> None:
    source = put(builder, SITE)
    said = builder.gear("build", source, "geard/build-static", "t-site", "COLOUR=dark red", "--start", "site")
    assert "artifacts are made anew" in said.stdout and "t-site is built" in said.stdout
    made = image(builder, "t-site")
    assert "COLOUR=dark red" in made["Config"]["Env"]
    assert made["Config"]["Cmd"] == ["/usr/libexec/s2i/run"]
    labels = made["Config"]["Labels"]
    assert labels["org.opencontainers.image.base.name"] == "docker.io/geard/build-static:latest"
    assert labels["org.opencontainers.image.base.digest"].startswith("sha256:")
    # Owners are those inside, and nothing is left of what it took.
    assert inside(builder, "t-site", "stat", "-c", "%u:%g", "/srv/site/index.html") == "0:0\n"
    eventually(lambda: builder.status("site")["ActiveState"] == "active")
    ask = f"curl -s -m 3 localhost:{builder.port('site')}/"
    eventually(lambda: "built" in builder.sh(ask, check=False).stdout, 30)
    eventually(lambda: not units(builder), 90)
    assert "build-" not in builder.sh("podman ps -a --external --format '{{.Names}}'").stdout
    (build,) = json.loads(builder.gear("builds", "list", "-o", "json").stdout)
    assert build["State"] == "done" and build["Image"] == made["Id"]
    assert not builder.sh(f"ls -d /var/lib/containers/builds/{build['Id']}/work", check=False).stdout
    # A build that fails leaves the gear and the image as they are.
    put(builder, assembling("echo no; exit 4"))
    failed = builder.gear("build", source, "geard/build-static", "t-site", "--start", "site", check=False)
    assert failed.returncode == 1 and "assemble ended with status 4" in failed.stderr
    assert image(builder, "t-site")["Id"] == made["Id"]
    assert builder.status("site")["ActiveState"] == "active" and "built" in builder.page(builder.port("site"))


def test_what_took_long_is_taken_over(builder: Shell) -> None:
    source = put(builder, SITE)
    kept: list[str] = []
    for options in ([], [], ["--clean"]):
        builder.gear("build", source, "geard/build-user", "t-kept", *options)
        kept.append(inside(builder, "t-kept", "sh", "-c", "cat /tmp/site/kept/made; id -u"))
    assert kept[0] == kept[1] != kept[2]
    assert kept[0].endswith("\n1001\n")
    builds = json.loads(builder.gear("builds", "list", "-o", "json").stdout)
    assert [build["Incremental"] for build in builds] == [False, True, False]
    before = image(builder, "t-kept")["Id"]
    builder.gear("build", source, "geard/build-user", "t-kept", "--rm")
    assert builder.run(["podman", "image", "exists", before], check=False).returncode == 1


@pytest.mark.parametrize(
    ("base", "name", "program"),
    [
        ("python", "app.py", "print('py', sum([1, 2]))\n"),
        ("node", "app.js", "console.log('py', 1 + 2)\n"),
        ("c", "app.c", '#include <stdio.h>\nint main(void) { printf("py %d\\n", 1 + 2); return 0; }\n'),
    ],
)
def test_languages(builder: Shell, base: str, name: str, program: str) -> None:
    builder.gear("build", put(builder, {name: program}), f"geard/build-{base}", "t-language")
    assert builder.run(["podman", "run", "--rm", "t-language"]).stdout == "py 3\n"


def test_built_on_one_image_and_run_on_another(builder: Shell) -> None:
    source = put(builder, {"app.c": "int main(void) { return 7; }\n"})
    builder.gear(
        "build", source, "geard/build-c", "t-runs", "--runtime-image", "geard/test-tools",
        "--runtime-artifact", "/out:opt",
    )  # fmt: skip
    assert "program" in inside(builder, "t-runs", "ls", "/opt")
    assert inside(builder, "t-runs", "sh", "-c", "ls /usr/include 2>&1 | head -1; true").count("No such") == 1
    refused = builder.gear("build", source, "geard/build-python", "t-x", "--runtime-image", "x/y", check=False)
    assert refused.returncode == 1


def test_missing_and_broken_scripts(builder: Shell) -> None:
    source = put(builder, SITE)
    builder.gear("build", source, "geard/build-bare", "t-bare")
    assert image(builder, "t-bare")["Config"]["Cmd"] == ["/bin/sh"]  # no run script: as the base has it
    failed = builder.gear("build", source, "geard/build-broken", "t-broken", "--name", "broken", check=False)
    assert failed.returncode == 1 and "compiling half of it" in failed.stdout
    build = shown(builder, "broken")
    assert (build["State"], build["Step"]) == ("failed", "assemble") and "there-is-no-such-file" in build[
        "LastLines"
    ][-1]
    assert builder.run(["podman", "image", "exists", "t-broken"], check=False).returncode == 1
    completed = builder.sh(
        "_GEAR_COMPLETE=bash_complete COMP_WORDS='gear builds show bro' COMP_CWORD=3 gear"
    ).stdout
    assert "broken" in completed
    none = builder.gear("build", source, "geard/test-tools", "t-none", check=False)
    assert "there is no assemble script for geard/test-tools" in none.stderr
    assert "a site of the source's files" in builder.gear("builds", "usage", "geard/build-static").stdout


def test_where_scripts_come_from(builder: Shell) -> None:
    source = put(builder, assembling("mkdir /made; echo source >/made/by; ls /tmp/scripts >>/made/by"))
    asked = put(builder, {"bin/assemble": "#!/bin/sh\nmkdir /made; echo asked >/made/by\n"}, "scripts")
    builder.gear("build", source, "geard/build-static", "t-of")
    assert inside(builder, "t-of", "cat", "/made/by").startswith("source\n")
    builder.gear("build", source, "geard/build-static", "t-of", "--clean", "--scripts", f"file://{asked}/bin")
    assert inside(builder, "t-of", "cat", "/made/by") == "asked\n"


def test_a_containerfile_is_found_and_its_owners_are_right(builder: Shell) -> None:
    text = (
        "FROM geard/test-tools\nARG COLOUR\nCOPY index.html /srv/\nRUN echo $COLOUR >/srv/c && chown 5:6 /srv/c\n"
    )
    source = put(builder, {**SITE, "Containerfile": text})
    builder.gear("build", source, "t-file", "COLOUR=red")
    assert (
        inside(builder, "t-file", "sh", "-c", "stat -c %u:%g /srv/c /srv/index.html; cat /srv/c")
        == "5:6\n0:0\nred\n"
    )
    put(builder, {"Containerfile": "FROM geard/test-tools\nRUN echo before && exit 9\n"})
    failed = builder.gear("build", source, "t-file", "--name", "file", check=False)
    assert failed.returncode == 1 and "before" in failed.stdout and shown(builder, "file")["Step"] == "build"
    assert "geard-build" not in builder.sh("podman images --format '{{.Repository}}'").stdout


def test_git_with_branches_and_folders(builder: Shell) -> None:
    put(builder, {"web/index.html": "one\n"}, "repo")
    builder.sh(
        f"cd {WORK}/repo && git init -q -b main && git config user.email a@b; git config user.name a; git add ."
        " &&"
        " git commit -qm one && git checkout -qb other && echo two >web/index.html && git commit -qam two &&"
        " git checkout -q main"
    )
    builder.gear("build", f"{WORK}/repo#other:web", "geard/build-static", "t-git", "--name", "git")
    assert inside(builder, "t-git", "cat", "/srv/site/index.html") == "two\n"
    commit = builder.sh(f"git -C {WORK}/repo rev-parse other").stdout.strip()
    assert shown(builder, "git")["Commit"] == commit
    assert image(builder, "t-git")["Config"]["Labels"]["org.opencontainers.image.revision"] == commit
    wrong = builder.gear("build", f"{WORK}/repo#nothing", "geard/build-static", "t-git", check=False)
    assert wrong.returncode == 1 and "git cannot fetch" in wrong.stderr
    for source in ("ext::sh -c x", "--upload-pack=x", "fd::0", f"{WORK}/repo#-x"):
        assert builder.gear("build", "--", source, "geard/build-static", "t-x", check=False).returncode == 64


def test_archives(builder: Shell) -> None:
    put(builder, SITE)
    builder.sh(f"cd {WORK} && tar czf good.tgz src && tar cf links.tar -C / etc/hostname")
    builder.sh(f"cd {WORK} && gear build - geard/build-static t-tar <good.tgz")
    assert inside(builder, "t-tar", "cat", "/srv/site/index.html") == SITE["index.html"]
    builder.sh(f"cd {WORK} && ln -s /etc out && mknod null c 1 3; tar cf out.tar out && tar cf device.tar null"
               " && tar cPf absolute.tar /etc/hostname")  # fmt: skip
    for name in ("out", "device", "absolute"):
        said = builder.gear("build", f"{WORK}/{name}.tar", "geard/build-static", "t-x", check=False)
        assert said.returncode == 1 and "the archive has" in said.stderr, name


def test_over_http_as_the_readme_has_it(builder: Shell) -> None:
    body: dict[str, object] = {"BaseImage": "geard/build-static", "Source": put(builder, SITE), "Tag": "t-http"}
    body["Name"] = "http"
    said = builder.agent("POST", "/build-image?follow=true", body).stdout
    assert "artifacts are made anew" in said and "t-http is " in said
    listed = json.loads(builder.agent("GET", "/builds").stdout)["Builds"]
    assert [(each["Id"], each["State"]) for each in listed] == [("http", "done")]
    assert "artifacts are made anew" in builder.agent("GET", "/builds/http/log").stdout
    body |= {"Name": "http2", "BaseImage": "geard/build-broken", "Clean": True, "Verbose": True}
    assert "error: build http2" in builder.agent("POST", "/build-image?follow=true", body).stdout
    assert json.loads(builder.agent("GET", "/builds/http2").stdout)["State"] == "failed"


def test_it_outlives_who_asked_and_the_agent_and_can_be_joined(builder: Shell) -> None:
    source = put(builder, assembling("echo begun; sleep 6; echo ended"))
    body = {"BaseImage": "geard/build-static", "Source": source, "Tag": "t-long", "Name": "long"}
    builder.agent("POST", "/build-image", body)
    eventually(lambda: "begun" in builder.gear("builds", "log", "--no-follow", "long").stdout, 60)
    builder.sh("systemctl kill -s KILL geard.service")
    assert "ended" in builder.gear("builds", "log", "long").stdout
    assert shown(builder, "long")["State"] == "done"


def test_cancelled_and_out_of_time(builder: Shell) -> None:
    source = put(builder, assembling("echo begun; sleep 600 & sleep 600"))
    builder.gear("build", source, "geard/build-static", "t-x", "--name", "slow", "--no-wait")
    eventually(lambda: "begun" in builder.gear("builds", "log", "--no-follow", "slow").stdout, 60)
    assert builder.gear("builds", "cancel", "slow").stdout == "Build slow is cancelled\n"
    assert shown(builder, "slow")["State"] == "cancelled" and shown(builder, "slow")["Step"] == "assemble"
    timed = builder.gear("build", source, "geard/build-static", "t-x", "--time-limit", "4", check=False)
    assert timed.returncode == 1 and "time limit" in timed.stderr
    eventually(lambda: not units(builder), 60)
    assert "build-" not in builder.sh("podman ps -a --format '{{.Names}}'").stdout


def test_endless_output_forks_and_a_full_disk(builder: Shell) -> None:
    source = put(builder, assembling("yes"))
    builder.run(["tee", SETTINGS], stdin='[builds]\noutput-limit = "2m"\n')
    yes = builder.gear(
        "build", source, "geard/build-static", "t-x", "--name", "yes", "--time-limit", "4", check=False
    )
    assert yes.returncode == 1 and "time limit" in yes.stderr
    assert "bytes are not kept" in builder.gear("builds", "log", "yes").stderr  # who followed may have seen all
    assert int(builder.sh("du -sk /var/lib/containers/builds/yes").stdout.split()[0]) < 4_096
    put(builder, assembling("f() { f | f & }; f; sleep 3; echo over"))
    builder.gear("build", source, "geard/build-static", "t-x", "--name", "forks", "--pids", "60",
                 "--time-limit", "8", check=False)  # fmt: skip
    assert shown(builder, "forks")["State"] in ("done", "failed")
    eventually(lambda: not units(builder), 60)
    free = int(builder.sh("df --output=avail -k /var/lib/containers | tail -1").stdout)
    builder.run(["tee", SETTINGS], stdin=f'[builds]\nspare-disk = "{free - 200_000}k"\n')
    put(builder, assembling("head -c 2000000000 /dev/zero >/full; sleep 600"))
    full = builder.gear("build", source, "geard/build-static", "t-full", "--name", "full", check=False)
    assert full.returncode == 1 and "is left on the disk of images" in full.stderr


def test_two_builds_of_one_tag_take_turns(builder: Shell) -> None:
    source = put(builder, assembling("sleep 3; cat /proc/uptime >/when"))
    for name in ("one", "two"):
        builder.gear("build", source, "geard/build-static", "t-same", "--clean", "--name", name, "--no-wait")
    for name in ("one", "two"):
        builder.gear("builds", "log", name)
        assert shown(builder, name)["State"] == "done"
    one, two = sorted((shown(builder, name) for name in ("one", "two")), key=lambda build: build["Began"])
    assert one["Ended"] <= two["Began"]


def test_what_is_built_reaches_no_gear_and_not_the_host(builder: Shell) -> None:
    builder.gear("install", "geard/busybox-http-app", "other", "--start")
    eventually(lambda: builder.status("other")["ActiveState"] == "active")
    format = '{{(index .NetworkSettings.Networks "geard").IPAddress}}'
    there = builder.run(["podman", "inspect", "--format", format, "ctr-other"]).stdout.strip()
    assert there.count(".") == 3
    ask = "wget -q -T 3 -O - http://"
    reach = f"{ask}{there}:8080/ && exit 5; {ask}{there.rpartition('.')[0].rpartition('.')[0]}.0.1:22/ && exit 6"
    source = put(builder, assembling(f"{reach}; cat /proc/self/uid_map; test ! -e /var/lib/containers; id -u"))
    said = builder.gear("build", source, "geard/build-static", "t-apart").stdout
    assert "65536" in said
    off = put(builder, assembling("ls /sys/class/net; test ! -e /sys/class/net/eth0"), "off")
    builder.gear("build", off, "geard/build-static", "t-off", "--no-network")


def test_killed_in_the_middle(builder: Shell) -> None:
    source = put(builder, assembling("echo begun; sleep 600"))
    builder.gear("build", source, "geard/build-static", "t-x", "--name", "killed", "--no-wait")
    eventually(lambda: "begun" in builder.gear("builds", "log", "--no-follow", "killed").stdout, 60)
    builder.sh("systemctl kill -s KILL build-killed.service")
    eventually(lambda: shown(builder, "killed")["State"] == "failed", 60)
    eventually(lambda: not units(builder), 60)
    assert "build-" not in builder.sh("podman ps -a --format '{{.Names}}'").stdout
    builder.gear("builds", "remove", "killed")
    assert builder.gear("builds", "show", "killed", check=False).returncode == 5


def test_the_readmes_curl_line(builder: Shell) -> None:
    """Where github.com is a git daemon in a gear, and the base image one that was made here."""
    builder.sh("podman tag geard/build-static docker.io/pmorie/fedora-mock")
    put(builder, {"index.html": "simple\n"}, "html")
    builder.sh(
        f"cd {WORK}/html && git init -q -b master && git config user.email a@b; git config user.name a; git add ."
        " && git commit -qm one"
    )
    serve = "git daemon --reuseaddr --export-all --base-path=/srv --port=9418"
    builder.sh(f"cd {WORK} && mkdir -p ctx && git clone -q --bare html ctx/simple-html")
    text = "FROM geard/githost\nCOPY simple-html /srv/pmorie/simple-html\n"
    put(builder, {"Containerfile": text}, "ctx")
    builder.gear("build", f"{WORK}/ctx", "t-github")
    builder.gear(
        "install", "t-github", "github", "-p", "9418:9418", "--start", "--", "sh", "-c",
        f"git config --global safe.directory '*'; exec {serve}",
    )  # fmt: skip
    builder.sh(f"echo '{builder.address} github.com' >>/etc/hosts")
    try:
        page = (Path(__file__).parents[2] / "docs/README-2014.md").read_text()
        (line,) = [line for line in page.splitlines() if "build-image" in line and line.startswith("curl")]
        eventually(lambda: builder.status("github")["ActiveState"] == "active", 60)
        said = builder.sh(line.replace("curl", "curl -sS --fail-with-body", 1)).stdout
        id = said.split()[1]
        builder.gear("builds", "log", id)
        assert shown(builder, id)["State"] == "done", builder.gear("builds", "log", id).stdout
        assert inside(builder, "mybuild-1", "cat", "/srv/site/index.html") == "simple\n"
    finally:
        builder.sh("sed '/ github.com$/d' /etc/hosts >/tmp/hosts; cat /tmp/hosts >/etc/hosts")
        builder.sh("podman rmi -f mybuild-1 docker.io/pmorie/fedora-mock", check=False)


EXAMPLE = Path(__file__).parents[2] / "examples/pushed_page"


@pytest.fixture
def pushing(builder: Shell, sshd: None) -> Generator[Shell]:
    """The example, in a folder, and no repository before and after."""
    builder.run(["rm", "-f", SETTINGS])
    builder.run(["tee", "/root/.gitconfig"], stdin="[user]\nname = me\nemail = me@example.com\n")
    builder.sh("podman tag geard/build-static docker.io/library/busybox")
    for path in sorted(EXAMPLE.iterdir()):
        put(builder, {path.name: path.read_text()}, "page")
    yield builder
    builder.gear("builds", "off-push", "page")
    builder.gear("delete-repo", "page", check=False)
    builder.sh("podman rmi docker.io/library/busybox; rm -f /root/.gitconfig", check=False)


def run_block(host: Shell, number: int) -> None:
    """One block of the example's README, as it is written."""
    block = (EXAMPLE / "README.md").read_text().split("```\n")[2 * number + 1].replace("HOST", "127.0.0.1")
    block = block.replace("key.pub", f"{KEY}.pub")
    ssh = " ".join(["ssh", *OPTIONS, "-i", KEY])
    host.sh(f"set -e; cd {WORK}/page; export GIT_SSH_COMMAND='{ssh}'\n{block}")


def test_a_push_is_built_and_run(pushing: Shell) -> None:
    """By examples/pushed_page, and without an agent."""
    host = pushing
    host.sh("systemctl stop geard.service")
    try:
        run_block(host, 0)
        run_block(host, 1)
        eventually(lambda: "page" in host.gear("list", "-a", "-q").stdout.split(), 180)
        eventually(lambda: host.status("page")["ActiveState"] == "active", 60)
        port = host.port("page")

        def page() -> str:
            # A gear that is restarted takes its connections along without a word: who asks has to give up.
            return host.sh(f"curl -s -m 3 localhost:{port}/", check=False).stdout

        eventually(lambda: "The first page" in page(), 60)
        run_block(host, 2)
        eventually(lambda: "The second page" in page(), 180)
    finally:
        host.sh("systemctl start geard.service")
    # One that fails leaves it as it is.
    ssh = "GIT_SSH_COMMAND='" + " ".join(["ssh", *OPTIONS, "-i", KEY]) + "'"
    push = f"{ssh} git push -q git-page@127.0.0.1:page main"
    host.sh(f"cd {WORK}/page && echo 'RUN exit 3' >>Containerfile && git commit -qam three && {push}")

    def states() -> list[str]:
        builds = json.loads(host.gear("builds", "list", "--tag", "page", "-o", "json").stdout)
        return [build["State"] for build in builds]

    eventually(lambda: states() == ["failed", "done", "done"], 180)
    eventually(lambda: "The second page" in page(), 60)


def test_what_was_pushed_while_nothing_ran_is_built_by_the_agent(pushing: Shell) -> None:
    host = pushing
    host.sh("systemctl stop geard.service")
    try:
        host.gear("create-repo", "page")
        host.gear("builds", "on-push", "page", "t-away")
        # By root, past all hooks: nobody is told of it.
        host.sh(
            f"cd {WORK}/page && git init -q -b main && git add . && git commit -qm one"
            " && git config --global --add safe.directory '*'"
            " && git push -q /var/lib/containers/git/page main:master"
        )
        assert json.loads(host.gear("builds", "list", "-o", "json").stdout) == []
    finally:
        host.sh("systemctl start geard.service")
    eventually(lambda: '"done"' in host.gear("builds", "list", "--tag", "t-away", "-o", "json").stdout, 180)
