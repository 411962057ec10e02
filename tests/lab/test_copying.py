"""`gear cp` on a real host: into gears and out of them, on both engines, here and through the agent; and what a
hostile gear can make of it.
"""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest
from tests.lab.conftest import BOTH, Shell, drive, eventually

pytestmark = pytest.mark.lab

TOOLS = "geard/test-tools"
FILES = "http://localhost:43273/container/web/files"
WAYS = pytest.mark.parametrize("name", ["web", "localhost/web"])
TREE = """
rm -rf /root/cp && mkdir -p /root/cp/tree/sub && cd /root/cp/tree
echo one >one; chmod 640 one; echo two >sub/two; chmod 4755 sub/two; ln -s /etc/passwd link; ln one sub/second
head -c 5000000 /dev/urandom >big; mkfifo pipe; chown 1234:4321 one
"""


@pytest.fixture
def web(host: Shell) -> Shell:
    host.gear("install", TOOLS, "web", "--start", "-p", "none", "-v", "/data")
    host.sh(TREE)
    return host


def listed(host: Shell, folder: str) -> list[list[str]]:
    """Of each file in a folder of the gear: mode, owner, group, name."""
    lines = host.inside("web", "ls", "-lnA", folder).stdout.splitlines()[1:]
    return [[words[0], *words[2:4], words[8]] for words in map(str.split, lines)]


def cp(host: Shell, *words: str) -> subprocess.CompletedProcess[str]:
    return host.gear("cp", *words, check=False)


@BOTH
@WAYS
def test_in_and_out(web: Shell, name: str) -> None:
    """Modes stay; in there all belongs to whom the gear runs as, out here to who copies."""
    done = cp(web, "/root/cp/tree", f"{name}:/data")
    assert (done.returncode, done.stdout) == (0, f"3 files copied to {name}:/data\n")
    assert done.stderr == "left out: /root/cp/tree/pipe is a pipe\n"
    assert listed(web, "/data/tree") == [
        ["-rw-r--r--", "0", "0", "big"],
        ["lrwxrwxrwx", "0", "0", "link"],
        ["-rw-r-----", "0", "0", "one"],
        ["drwxr-xr-x", "0", "0", "sub"],
    ]
    assert listed(web, "/data/tree/sub") == [["-rw-r-----", "0", "0", "second"], ["-rwsr-xr-x", "0", "0", "two"]]
    assert cp(web, f"{name}:/data/tree", "/root/cp/back").returncode == 0
    web.sh("cd /root/cp; for each in one big sub/two sub/second; do cmp tree/$each back/$each; done")
    facts = web.sh("cd /root/cp/back; stat -c '%a %U %N' sub/two link").stdout
    assert facts == "755 root 'sub/two'\n777 root 'link' -> '/etc/passwd'\n", (
        "no set-uid file that a gear has made"
    )
    # under another name; over what is there; contents alone; one file, one byte changed by nobody
    web.sh("echo three >/root/cp/tree/one")
    for words in (
        ("/root/cp/tree/one", "/data/tree/"),
        ("/root/cp/tree/.", "/data/other"),
        ("/root/cp/tree/one", "/x"),
    ):
        assert cp(web, words[0], f"{name}:{words[1]}").returncode == 0
    for path in ("/data/tree/one", "/data/other/one", "/x"):
        assert web.inside("web", "cat", path).stdout == "three\n"
    assert web.inside("web", "cat", "/data/tree/sub/second").stdout == "one\n", "replaced whole"


def test_as_a_tar(web: Shell) -> None:
    name = "localhost/web"
    done = web.sh(f"tar c -C /root/cp tree 2>/dev/null | gear cp - {name}:/data")
    assert done.stdout == f"copied to {name}:/data\n"
    found = web.sh(f"gear cp {name}:/data/tree - | tar tv | awk '{{ print $1, $2, $6 }}'").stdout.splitlines()
    assert found[:2] == ["drwxr-xr-x 0/0 tree/", "-rw-r--r-- 0/0 tree/big"]
    assert "-rw-r----- 0/0 tree/one" in found
    # a tar for a terminal is refused
    assert (
        drive(web, ["gear", "cp", f"{name}:/data/tree", "-"], [["expect", "nothing for a terminal"]])["status"]
        == 64
    )


def test_from_gear_to_gear(web: Shell) -> None:
    web.gear("install", TOOLS, "other", "--start", "-p", "none", "-v", "/data")
    cp(web, "/root/cp/tree", "web:/data")
    for target in ("other", "localhost/other"):
        done = cp(web, "localhost/web:/data/tree", f"{target}:/data/new")
        assert (done.returncode, done.stdout) == (0, f"copied to {target}:/data/new\n"), done.stderr
        assert web.inside("other", "cat", "/data/new/sub/two").stdout == "two\n"
        web.inside("other", "rm", "-r", "/data/new")


@WAYS
def test_what_cannot_be(web: Shell, name: str) -> None:
    def said(*words: str) -> tuple[int, str]:
        done = cp(web, *words)
        return done.returncode, next(line for line in done.stderr.splitlines() if line.startswith("Error"))

    assert said(f"{name}:/nosuch", "/root/cp") == (5, "Error: /nosuch: No such file or directory")
    assert said("/root/nosuch", f"{name}:/data") == (5, "Error: /root/nosuch: No such file or directory")
    assert said("/root/cp/tree/one", f"{name}:/no/such") == (5, "Error: /no: No such file or directory")
    assert said("/root/cp/tree/one", f"{name}:/new/") == (5, f"Error: there is no folder {name}:/new/")
    assert said("/root/cp/tree", f"{name}:/etc/passwd") == (1, "Error: /etc/passwd is there, and no folder")
    assert said(f"{name}:/", "/root/cp") == (64, "Error: web is not copied as a whole")
    assert said(f"{name}:/dev/null", "/root/cp") == (64, "Error: /dev/null is no file or folder")
    assert said("/root", "/tmp") == (64, "Error: neither of the two is in a gear")
    nosuch = name.replace("web", "nosuch")
    assert said("/root/cp/tree", f"{nosuch}:/data") == (5, "Error: there is no gear nosuch here")
    web.gear("stop", "web")
    assert said(f"{name}:/etc/passwd", "/root/cp") == (6, "Error: web is not running")


def test_by_curl(web: Shell) -> None:
    def curl(words: str) -> str:
        return web.sh(f"cd /root/cp; curl -sS -w ' %{{http_code}}' {words}", check=False).stdout.strip()

    web.sh("cd /root/cp; rm tree/pipe; tar cf tree.tar tree")
    assert curl(f"-T tree.tar '{FILES}?path=/data'") == "200"
    assert curl(f"-T - '{FILES}?path=/data' <tree.tar") == "200"
    assert web.inside("web", "cat", "/data/tree/sub/two").stdout == "two\n"
    assert (
        web.sh(f"cd /root/cp; curl -sS '{FILES}?path=/data/tree&name=new' | tar x; cmp new/big tree/big").stdout
        == ""
    )
    facts = json.loads(
        web.agent("GET", "/container/web/file?path=/data/tree/one", None, "-H", "Accept: application/json").stdout
    )
    assert (facts["Kind"], facts["Size"], facts["Mode"]) == ("file", 4, "0640")
    for words, told in (
        (f"'{FILES}?path=/nosuch'", "/nosuch: No such file or directory"),
        (f"-T tree.tar '{FILES}?path=/nosuch'", "/nosuch: No such file or directory"),
        (f"-T tree/big '{FILES}?path=/data'", "that is no tar"),
        (f"'{FILES}'", "Path"),
    ):
        assert told in curl(words)
    web.gear("stop", "web")
    assert "web is not running" in curl(f"'{FILES}?path=/data'")


def test_who_may(web: Shell) -> None:
    """Who may enter it: the scope is operate, within what [allow] permits, and no gear beyond the asker's."""
    web.sh("mkdir -p /srv/given; echo of the host >/srv/given/file; chmod 644 /srv/given/file")
    web.gear("install", TOOLS, "given", "--start", "-p", "none", "-v", "/srv/given:/given")
    ids = {"reader": ("read", "*"), "operator": ("operate", "*"), "bounded": ("operate", "we*")}
    for token, (scope, only) in ids.items():
        secret = web.gear("token", "create", token, "--scope", scope, "--only", only).stdout.split()[-1]
        ids[token] = (secret, only)

    def status(token: str, path: str) -> str:
        head = f"Authorization: Bearer {ids[token][0]}"
        words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", head]
        return web.run([*words, f"http://localhost:43273/container/{path}"]).stdout

    try:
        assert status("reader", "web/files?path=/etc/passwd") == "403"
        assert status("operator", "web/files?path=/etc/passwd") == "200"
        assert status("operator", "given/files?path=/given") == "403"
        assert status("bounded", "web/file?path=/etc") == "200"
        assert status("bounded", "given/file?path=/etc") == "403"
    finally:
        for token in ids:
            web.gear("token", "revoke", token)


@BOTH
def test_a_hostile_gear_leads_nowhere(web: Shell) -> None:
    """It swaps folders for links to where the host has other files than it has itself, all the while."""
    web.sh("mkdir -p /srv/trap; echo of the host >/srv/trap/file; chmod 777 /srv/trap")
    swap = (
        "cd /data; mkdir -p real srv/trap; echo of the gear >real/file; mkdir -p /srv/trap; "
        "while :; do rm -rf way; ln -s /srv/trap way; rm -f way; ln -s ../../../../srv/trap way; rm -f way; "
        "mkdir way; echo of the gear >way/file; done"
    )
    web.sh(f"gear exec web -- sh -c {shlex.quote(swap)} >/dev/null 2>&1 & echo $! >/root/cp/pid")
    try:
        web.sh("mkdir -p /root/cp/in/way; echo planted >/root/cp/in/way/planted")
        for _ in range(3):
            cp(web, "/root/cp/in/.", "web:/data")
            cp(web, "/root/cp/in/way", "web:/data/way")
            out = web.sh("gear cp web:/data/way - | tar xO 2>/dev/null", check=False)
            assert "of the host" not in out.stdout
    finally:
        web.sh("kill $(cat /root/cp/pid)")
    assert web.sh("ls /srv/trap").stdout == "file\n"
    # links to its own processes' roots, and to ours, are its own
    web.inside(
        "web", "sh", "-c", "echo of the gear >/here; ln -s /proc/1/root/here /one; ln -s /proc/self/root /two"
    )
    found = web.sh("gear cp web:/one - 2>/dev/null | tar xO 2>/dev/null", check=False).stdout
    assert found in ("of the gear\n", "")
    assert cp(web, "web:/two/etc/hostname", "/root/cp/x").returncode == 5, "this process is not in there"


@BOTH
def test_it_has_no_more_rights_than_the_gear(web: Shell) -> None:
    """Nor does it look for a program, a library or a name in there."""
    web.sh("mkdir -p /srv/given; echo secret >/srv/given/file; chmod 700 /srv/given")
    web.gear("install", TOOLS, "web", "--start", "-p", "none", "-v", "/srv/given:/given")
    for folder in ("bin", "lib", "usr", "etc", "sbin"):  # what is mounted there stays
        web.inside("web", "/bin/busybox", "rm", "-rf", f"/{folder}/nosuch")
    if web.engine == "podman":
        for words in (("web:/given/file", "/root/cp/x"), ("/root/cp/tree/one", "web:/given/new")):
            done = cp(web, *words)
            assert (done.returncode, "Permission denied" in done.stderr) == (4, True), done
    assert web.sh("ls /srv/given").stdout == "file\n"
    web.inside("web", "/bin/busybox", "rm", "-rf", "/bin", "/usr", "/etc/passwd")
    assert cp(web, "/root/cp/tree/one", "web:/etc").returncode == 0, "an image with nothing in it does"
    assert web.sh("gear cp web:/etc/one - | tar xO").stdout == "one\n"


HELD = "cd /root/cp; rm -f hold; mkfifo hold; sleep 90 >hold & echo $! >holder; "


@WAYS
def test_who_leaves_leaves_no_half_file(web: Shell, name: str) -> None:
    web.sh(f"truncate -s 20G /root/cp/huge; timeout -s INT 2 gear cp /root/cp/huge {name}:/data", check=False)
    web.sh(f"{HELD} timeout -s INT 3 gear cp - {name}:/data <hold; kill $(cat holder)", check=False)
    eventually(lambda: not json.loads(web.gear("sessions", "-o", "json").stdout))
    eventually(lambda: not copying(web))
    assert listed(web, "/data") == []


def copying(host: Shell) -> str:
    """The number of the process that copies, in there."""
    return host.run(["pgrep", "-f", "copying/within.py .* in /data"], check=False).stdout.strip()


@BOTH
@WAYS
def test_a_half_file_that_nobody_tidies_up_has_no_name(web: Shell, name: str) -> None:
    """What copies is killed while it waits for the rest of one."""
    web.sh(
        "cd /root/cp; rm -f hold; mkfifo hold; tar c tree/big | head -c 2000000 >half; "
        "{ cat half; sleep 300; } >hold & echo $! >holder"
    )
    web.sh(f"cd /root/cp; gear cp - {name}:/data <hold >said 2>&1 & true")
    try:
        sizes = "stat -Lc %s /proc/{}/fd/* | sort -n | tail -1"
        eventually(lambda: int(web.sh(sizes.format((copying(web) or "0").split()[-1])).stdout or 0) > 1_000_000)
        assert listed(web, "/data") == [["drwx------", "0", "0", "tree"]]
        assert listed(web, "/data/tree") == []
        web.sh(f"kill -KILL {copying(web).split()[-1]}")
        eventually(lambda: not copying(web))
    finally:
        web.sh("holder=$(cat /root/cp/holder); kill -KILL $holder $(pgrep -P $holder)")
    assert listed(web, "/data/tree") == []
    eventually(lambda: "Error" in web.sh("cat /root/cp/said").stdout)


def test_it_is_listed_while_it_lasts(web: Shell) -> None:
    web.sh(f"{HELD} gear cp - web:/data <hold >/dev/null 2>&1 & true")
    eventually(lambda: "copy in" in web.gear("sessions").stdout)
    web.sh("kill $(cat /root/cp/holder)")
    eventually(lambda: "copy in" not in web.gear("sessions").stdout)


def test_much_of_it_takes_little_memory(web: Shell) -> None:
    web.sh("truncate -s 200M /root/cp/large")
    for words in ("/root/cp/large localhost/web:/data", "localhost/web:/data/large /root/cp/back"):
        script = (
            "import resource, subprocess, sys; subprocess.run(['gear', 'cp', *sys.argv[1:]], check=True); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        told = web.run(["python3", "-c", script, *words.split()]).stdout.split()
        assert int(told[-1]) < 120_000, "KB, of which Python itself has a third"
    web.sh("cmp /root/cp/large /root/cp/back; rm /root/cp/large /root/cp/back")
