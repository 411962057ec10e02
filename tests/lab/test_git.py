"""Git repositories on a real host: Debian's git, ssh and sshd, podman."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator

import pytest
from tests.lab import test_ssh
from tests.lab.conftest import SETTINGS, Shell, eventually
from tests.lab.test_ssh import KEY, OPTIONS

pytestmark = pytest.mark.lab

sshd = test_ssh.sshd

WORK = "/root/git"
GIT = "/var/lib/containers/git"


@pytest.fixture(scope="module")
def hosting(h1: Shell, sshd: None) -> Shell:
    h1.lab_does("images", "githost")
    for name in ("reader", "other"):
        h1.sh(f"[ -e {KEY}-{name} ] || ssh-keygen -q -t ed25519 -N '' -f {KEY}-{name}")
    h1.run(
        ["tee", "/root/.gitconfig"],
        stdin="[user]\nname = me\nemail = me@example.com\n[init]\ndefaultBranch = master\n",
    )
    return h1


@pytest.fixture
def host(hosting: Shell) -> Generator[Shell]:
    """A host without repositories, before and after."""
    _clear(hosting)
    yield hosting
    _clear(hosting)
    hosting.run(["rm", "-f", SETTINGS])


def _clear(host: Shell) -> None:
    names = host.gear("list-repos", "-o", "name").stdout.split()
    if names:
        host.gear("delete-repo", *names)
    host.sh(f"rm -rf {WORK}; mkdir {WORK}")


@pytest.fixture
def shop(host: Shell) -> Shell:
    """The repository shop, which one key may write to and another read, with a commit."""
    host.gear("create-repo", "shop")
    host.gear("keys", "--repo", "--write", "shop", "--key-file", f"{KEY}.pub")
    host.gear("keys", "repo://shop", "--key-file", f"{KEY}-reader.pub")
    commit(host, "w", "first")
    git(host, "-C", "w", "push", url("shop"), "master")
    return host


def git(
    host: Shell, *words: str, key: str = KEY, check: bool = True, **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {"GIT_SSH_COMMAND": " ".join(["ssh", *OPTIONS, "-i", key]), **more}
    assigned = [f"{name}={value}" for name, value in environment.items()]
    return host.run(["env", "-C", WORK, *assigned, "git", *words], check=check)


def ssh(host: Shell, *words: str, to: str = "git-shop", key: str = KEY) -> subprocess.CompletedProcess[str]:
    options = [word for word in words if word.startswith("-")]
    argv = ["ssh", *OPTIONS, "-i", key, *options, f"{to}@127.0.0.1", *words[len(options) :]]
    return host.run(["timeout", "100", *argv], check=False)


def commit(host: Shell, tree: str, text: str) -> str:
    """A commit more in a tree, which is made where it is not there; its name."""
    host.sh(
        f"cd {WORK} && [ -d {tree} ] || git init -q {tree}; cd {tree} && echo '{text}' >>file && git add file"
        f" && git commit -qm '{text}'"
    )
    return host.run(["git", "-C", f"{WORK}/{tree}", "rev-parse", "HEAD"]).stdout.strip()


def url(name: str, path: str = "") -> str:
    return f"git-{name}@127.0.0.1:{path or name}"


def served(host: Shell, name: str) -> str:
    return host.run(["cat", f"{WORK}/{name}/file"]).stdout


def repositories(host: Shell) -> dict[str, dict[str, object]]:
    found = json.loads(host.gear("list-repos", "-o", "json").stdout)
    return {each["Id"]: each for each in found}


# --- by SSH


def test_clone_push_fetch(shop: Shell) -> None:
    for number, path in enumerate(("shop", "~", f"{GIT}/shop")):
        git(shop, "clone", "-q", url("shop", path), f"c{number}")
        assert served(shop, f"c{number}") == "first\n"
    git(shop, "clone", "-q", "ssh://git-shop@127.0.0.1/shop", "c", key=f"{KEY}-reader")
    commit(shop, "c0", "second")
    git(shop, "-C", "c0", "push", "-q")
    git(shop, "-C", "c", "pull", "-q", key=f"{KEY}-reader")
    assert served(shop, "c") == "first\nsecond\n"
    assert git(shop, "archive", f"--remote={url('shop')}", "master", "file").stdout.endswith("\0")
    # and by the README's own line
    assert shop.agent("PUT", "/repository/by-curl").stdout.startswith("Repository by-curl is created")
    assert "409" in shop.agent("PUT", "/repository/by-curl", None, "-o", "/dev/null", "-w", "%{http_code}").stdout


def test_who_may_what(shop: Shell) -> None:
    """A key to read reads; one to write does both; another's nothing, and none has anything but git's programs."""
    commit(shop, "w", "more")
    refused = git(shop, "-C", "w", "push", url("shop"), "master", key=f"{KEY}-reader", check=False)
    assert refused.returncode and "with this key shop can be fetched, not pushed to" in refused.stderr
    shop.gear("create-repo", "other")
    shop.gear("keys", "--repo", "other", "--key-file", f"{KEY}-other.pub")
    assert "Permission denied" in git(shop, "ls-remote", url("shop"), key=f"{KEY}-other", check=False).stderr
    for path in ("other", "../other", "/git/other", f"{GIT}/other", "/etc"):
        done = git(shop, "ls-remote", url("shop", path), check=False)
        assert done.returncode and "git-shop has the repository shop, and no other" in done.stderr, path
    # the word given last counts
    shop.gear("keys", "--repo", "shop", "--key-file", f"{KEY}.pub")
    assert git(shop, "-C", "w", "push", url("shop"), "master", check=False).returncode
    shop.gear("keys", "--repo", "--write", "shop", "--key-file", f"{KEY}-reader.pub")
    git(shop, "-C", "w", "push", "-q", url("shop"), "master", key=f"{KEY}-reader")
    listed = json.loads(shop.gear("list-keys", "--repo", "shop", "-o", "json").stdout)
    assert sorted(each["Repository"] for each in listed) == ["read", "write"]
    shop.gear("remove-keys", "--repo", "shop", "--all")
    assert "Permission denied" in git(shop, "ls-remote", url("shop"), check=False).stderr
    assert shop.sh("find /var/lib/containers/access/git -type l -path '*/shop/*'").stdout == ""


@pytest.mark.parametrize(
    ("command", "status", "told"),
    [
        (("-tt",), 255, "PTY allocation request failed"),
        ((), 125, "nothing but git's fetch and push is let in"),
        (("git-upload-pack shop; id",), 125, "nothing but git's fetch and push is let in"),
        (("-s", "sftp"), 125, ""),  # which is told in sftp's own words, to who asks for more
    ],
)
def test_nothing_else_is_let_in(shop: Shell, command: tuple[str, ...], status: int, told: str) -> None:
    done = ssh(shop, *command)
    assert (done.returncode, done.stdout.removeprefix("\0\0\0\5\2\0\0\0\3")) == (status, "")
    assert told in done.stderr


def test_options_in_place_of_names_are_none(shop: Shell) -> None:
    """In what is asked by SSH, and in names of refs, which may begin with `-`."""
    for program in ("touch /git/shop/ran;git-upload-pack", "git-upload-pack --exec=id", "git-receive-pack -x"):
        done = git(shop, "ls-remote", f"--upload-pack={program}", url("shop"), check=False)
        assert done.returncode and "nothing but git's fetch and push is let in" in done.stderr, program
    for path in ("--upload-pack=id", "-oProxyCommand=id"):
        done = ssh(shop, f"git-upload-pack '{path}'")
        assert done.returncode and not done.stdout, path
    names = ("-x", "--output=ran", "--upload-pack=id")
    git(shop, "-C", "w", "push", "-q", url("shop"), *(f"master:refs/heads/{name}" for name in names))
    git(shop, "clone", "-q", "--branch=--output=ran", url("shop"), "c")
    assert served(shop, "c") == "first\n"
    for name in names:
        asked = f"/repository/shop/archive/refs/heads/{name}?format=tar"
        assert "first" in shop.agent("GET", asked).stdout, name
    git(shop, "-C", "w", "push", "-q", url("shop"), *(f":refs/heads/{name}" for name in names))
    assert git(shop, "ls-remote", "--heads", url("shop")).stdout.endswith("\trefs/heads/master\n")
    assert "ran" not in shop.sh(f"ls {GIT}/shop").stdout.split()


def test_no_forwarding(shop: Shell) -> None:
    assert "stdio forwarding failed" in ssh(shop, "-W127.0.0.1:22").stderr.lower()
    done = ssh(shop, "-oExitOnForwardFailure=yes", "-R2222:127.0.0.1:22", "git-upload-pack shop")
    assert done.returncode == 255


def test_nothing_of_a_clients_environment_arrives(shop: Shell) -> None:
    done = git(
        shop,
        *("ls-remote", url("shop")),
        GIT_SSH_COMMAND=" ".join(["ssh", *OPTIONS, "-o", "SendEnv=GIT_*", "-i", KEY]),
        GIT_TRACE="/git/shop/trace",
        GIT_CONFIG_PARAMETERS="'core.hooksPath=/git/shop'",
        GIT_DIR="/git/other",
    )
    assert "refs/heads/master" in done.stdout
    assert "trace" not in shop.sh(f"ls {GIT}/shop").stdout


def test_where_it_runs(shop: Shell) -> None:
    """By the repository's user, without network and rights; others' repositories cannot be read."""
    shop.gear("create-repo", "other")
    owners = shop.run(["stat", "-c", "%U %a", f"{GIT}/shop", f"{GIT}/other"]).stdout
    assert owners == "git-shop 700\ngit-other 700\n"
    number = int(shop.run(["id", "-u", "git-shop"]).stdout) - 1_934_464

    def inside(script: str) -> subprocess.CompletedProcess[str]:
        argv = ["podman", "exec", "--user", f"{number}:{number}", "geard-githost", "sh", "-c", script]
        return shop.run(argv, check=False)

    assert inside("cat /git/shop/HEAD").stdout == "ref: refs/heads/master\n"
    assert inside("cat /git/other/HEAD").returncode
    assert inside("ls /git").returncode and inside("ls /git/.pushes").returncode
    assert inside("touch /x /hooks/x /git/x /git/.pushes/../x").returncode
    assert inside("grep -v lo: /proc/net/dev | grep :").stdout == ""
    assert "CapBnd:\t0000000000000000" in inside("cat /proc/self/status").stdout
    assert "NoNewPrivs:\t1" in inside("cat /proc/self/status").stdout


def test_no_service_manager_is_started_for_a_login(shop: Shell) -> None:
    """systemd has one for each user who logs in, but not for repositories' (docs/SSH.md)."""
    uid = shop.run(["id", "-u", "git-shop"]).stdout.strip()
    line = " ".join(["ssh", *OPTIONS, "-i", KEY, "git-shop@127.0.0.1", "git-upload-pack", "shop"])
    shop.sh(f"{{ sleep 600 | {line}; }} >{WORK}/said 2>&1 & echo $! >{WORK}/pid")
    asked = ["systemctl", "show", f"user@{uid}.service", "-p", "ActiveState,ConditionResult,ActiveEnterTimestamp"]
    try:
        eventually(lambda: "refs/heads/master" in shop.run(["cat", f"{WORK}/said"]).stdout, 60)
        told = dict(line.split("=", 1) for line in shop.run(asked).stdout.splitlines())
    finally:
        shop.sh(f"pkill -P $(cat {WORK}/pid)")
    assert told == {"ActiveState": "inactive", "ConditionResult": "no", "ActiveEnterTimestamp": ""}


def test_a_hook_that_came_otherwise_never_runs(shop: Shell) -> None:
    """Its own configuration and hooks decide nothing about what is run."""
    shop.sh(f"printf '#!/bin/sh\\ntouch /git/shop/ran\\n' >{GIT}/shop/evil; chmod 755 {GIT}/shop/evil")
    own = f"{GIT}/shop"
    shop.sh(f"cd {own} && mkdir hooks && for h in post-receive pre-receive update; do cp evil hooks/$h; done")
    for name in ("fsmonitor", "sshCommand", "alternateRefsCommand"):
        shop.run(["git", "config", "-f", f"{own}/config", f"core.{name}", "/git/shop/evil"])
    shop.run(["git", "config", "-f", f"{own}/config", "core.hooksPath", "/git/shop/hooks"])
    shop.run(["git", "config", "-f", f"{own}/config", "uploadpack.packObjectsHook", "/git/shop/evil"])
    shop.run(["chown", "-R", "git-shop:", own])
    commit(shop, "w", "more")
    git(shop, "-C", "w", "push", "-q", url("shop"), "master")
    git(shop, "clone", "-q", url("shop"), "c")
    assert served(shop, "c") == "first\nmore\n"
    assert shop.run(["test", "-e", f"{GIT}/shop/ran"], check=False).returncode


# --- made from others


def test_from_another_of_this_machine(shop: Shell) -> None:
    git(shop, "-C", "w", "push", "-q", url("shop"), "master:refs/heads/a/b", "master:refs/tags/v1")
    for name, source in (("first", "shop"), ("second", f"{GIT}/first")):
        assert f"{name} is filled" in shop.gear("create-repo", name, source).stdout
        shop.gear("keys", "--repo", name, "--key-file", f"{KEY}.pub")
        refs = git(shop, "ls-remote", url(name)).stdout
        assert [line.split("\t")[1] for line in refs.splitlines()] == [
            *("HEAD", "refs/heads/a/b", "refs/heads/master", "refs/tags/v1")
        ]
    shop.gear("create-repo", "empty")
    assert "copy is filled" in shop.gear("create-repo", "copy", "empty").stdout
    assert "no repository nosuch" in shop.gear("create-repo", "xx", "nosuch", check=False).stderr
    assert "xx" not in repositories(shop)


def test_from_elsewhere(shop: Shell) -> None:
    """By http and by git://, but for addresses where strangers may not send us."""
    git(shop, "clone", "-q", "--bare", "w", "src.git")
    git(shop, "-C", "src.git", "update-server-info")
    shop.sh(
        f"cd {WORK}; systemd-run -q --collect --unit=test-http --working-directory={WORK}"
        f" python3 -m http.server 8099; systemd-run -q --collect --unit=test-git git daemon --export-all"
        f" --base-path={WORK} --reuseaddr --port=9418"
    )
    try:
        eventually(
            lambda: shop.sh("ss -Hltn | grep -c -e :8099 -e :9418", check=False).stdout.strip() in ("2", "3")
        )
        for name, source in (
            ("over-http", "http://127.0.0.1:8099/src.git"),
            ("by-git", "git://127.0.0.1/src.git"),
        ):
            shop.run(["rm", "-f", SETTINGS])
            refused = shop.gear("create-repo", name, source, check=False)
            assert "127.0.0.1 is not a public address" in refused.stderr, refused
            assert name not in repositories(shop), "it can be asked for again"
            shop.run(["tee", SETTINGS], stdin='[repositories]\nallow = ["127.0.0.0/8"]\n')
            assert f"{name} is filled" in shop.gear("create-repo", name, source).stdout
            shop.gear("keys", "--repo", name, "--key-file", f"{KEY}.pub")
            git(shop, "clone", "-q", url(name), name)
            assert served(shop, name) == "first\n"
        assert shop.agent("PUT", "/repository/asked?source=shop").stdout.startswith("Repository asked is created")
        eventually(lambda: repositories(shop)["asked"]["Refs"] == 1)
    finally:
        shop.sh("systemctl stop test-http test-git")


@pytest.mark.parametrize(
    "source",
    [
        "ext::sh -c id",
        "file:///etc",
        "/etc/passwd",
        "--upload-pack=id",
        "ssh://host/x",
        "host:path",
        "https://me:secret@example.com/x",
        "-oProxyCommand=id",
        "../shop",
    ],
)
def test_what_nothing_is_cloned_from(host: Shell, source: str) -> None:
    done = host.gear("create-repo", "xx", "--", source, check=False)
    assert done.returncode == 64 and "secret" not in done.stderr
    assert repositories(host) == {}


# --- names


def test_names(host: Shell) -> None:
    long = "r" * 64
    for name in ("git-test", "t.i.g", long):
        host.gear("create-repo", name)
        host.gear("keys", "--repo", "--write", name, "--key-file", f"{KEY}.pub")
        login = repositories(host)[name]["Login"]
        commit(host, name, name)
        git(host, "-C", name, "push", "-q", f"{login}@127.0.0.1:{name}", "HEAD:refs/heads/é/ü/漢字", "HEAD")
        refs = git(host, "-c", "core.quotePath=false", "ls-remote", f"{login}@127.0.0.1:~").stdout
        assert "refs/heads/é/ü/漢字\n" in refs and "refs/heads/master\n" in refs
    for bad in ("a", "..", "a/../b/c", "-x"):
        assert host.gear("create-repo", "--", bad, check=False).returncode == 64, bad


# --- archives


def test_archives(shop: Shell) -> None:
    """Of any ref, in each form, over HTTP as the README has it and at the terminal."""
    for ref in ("heads/a/b", "heads/é/漢字", "tags/v1.0"):
        git(shop, "-C", "w", "push", "-q", url("shop"), f"master:refs/{ref}")
    head = shop.run(["git", "-C", f"{WORK}/w", "rev-parse", "HEAD"]).stdout.strip()

    def fetched(path: str) -> str:
        shop.sh(f"rm -rf {WORK}/x; mkdir {WORK}/x")
        words = [
            "curl",
            "-sSf",
            "-D",
            f"{WORK}/head",
            "-o",
            f"{WORK}/a",
            f"http://localhost:43273/repository/{path}",
        ]
        shop.run(words)
        kind = shop.sh(f"sed -n 's/^Content-Type: //Ip' {WORK}/head").stdout.strip()
        unpack = "python3 -m zipfile -e ../a ." if kind == "application/zip" else "tar xf ../a"
        shop.sh(f"cd {WORK}/x && {unpack}")
        return f"{kind} {served(shop, 'x')}"

    assert fetched("shop/archive/master") == "application/zip first\n"
    assert fetched("shop/archive/master?format=tar") == "application/x-tar first\n"
    for ref in ("a/b", "a%2Fb", "refs/heads/a/b", "%C3%A9/%E6%BC%A2%E5%AD%97", "v1.0", head, head[:10], "HEAD"):
        assert fetched(f"shop/archive/{ref}?format=tar.gz") == "application/gzip first\n", ref
    for ref in ("nosuch", "--output=x", "-o", "master:file", "master..v1.0", "a/../../etc", "%00", "x" * 2_000):
        done = shop.agent("GET", f"/repository/shop/archive/{ref}", None, "-w", " %{http_code}", "--path-as-is")
        assert done.stdout.endswith(" 404") and "shop has no" in done.stdout, ref
    assert "no repository nosuch" in shop.agent("GET", "/repository/nosuch/archive/master").stdout
    shop.sh(
        f"cd {WORK} && gear archive shop a/b -o t.tar && gear archive localhost/shop master --format tar >u.tar"
    )
    assert shop.sh(f"cd {WORK} && tar xOf t.tar file && tar xOf u.tar file").stdout == "first\nfirst\n"
    refused = shop.run(["gear", "archive", "shop", "nosuch", "-o", f"{WORK}/no.zip"], check=False)
    assert (
        "shop has no 'nosuch'" in refused.stderr
        and shop.run(["test", "-e", f"{WORK}/no.zip"], check=False).returncode
    )


# --- what a push is held to, and what follows it


def events(host: Shell) -> list[dict[str, str]]:
    found = host.gear("events", "--since", "5m", "--kind", "pushed", "-o", "json").stdout
    return [json.loads(line) for line in found.splitlines()]


def test_a_push_is_an_event_and_head_follows_the_first(host: Shell) -> None:
    host.gear("create-repo", "told")
    host.gear("keys", "--repo", "--write", "told", "--key-file", f"{KEY}.pub")
    host.run(["mkdir", "-p", "/etc/geard/git-hooks"])
    host.run(["tee", "/etc/geard/git-hooks/post-receive"], stdin="#!/bin/sh\necho the admin says hello\n")
    host.run(["chmod", "755", "/etc/geard/git-hooks/post-receive"])
    try:
        name = commit(host, "w", "first")
        done = git(host, "-C", "w", "push", url("told"), "master:main", "master:refs/tags/v1")
        assert "remote: the admin says hello" in done.stderr
    finally:
        host.run(["rm", "/etc/geard/git-hooks/post-receive"])
    eventually(lambda: [each for each in events(host) if each["Repository"] == "told"], 60)
    event = next(each for each in events(host) if each["Repository"] == "told")
    assert event["Message"] == f"refs/heads/main {name[:12]}, refs/tags/v1 {name[:12]}"
    assert event["By"].startswith("SHA256:") and repositories(host)["told"]["Head"] == "main"
    assert host.sh(f"ls -A {GIT}/.pushes").stdout == ""


def test_limits(shop: Shell) -> None:
    shop.sh(f"cd {WORK}/w && head -c 3000000 /dev/urandom >big && git add big && git commit -qm big")
    for setting, why in (
        ("push-limit", "exceeds maximum allowed size"),
        ("limit", "may not become larger than 1 MB"),
    ):
        shop.run(["tee", SETTINGS], stdin=f'[repositories]\n{setting} = "1m"\n')
        refused = git(shop, "-C", "w", "push", url("shop"), "master", check=False)
        assert refused.returncode and why in refused.stderr, refused
    shop.run(["rm", SETTINGS])
    git(shop, "-C", "w", "push", "-q", url("shop"), "master")


def test_renamed_tidied_deleted(shop: Shell) -> None:
    assert "shop is store now" in shop.gear("rename-repo", "shop", "store").stdout
    git(shop, "clone", "-q", url("store"), "c")
    assert "Permission denied" in git(shop, "ls-remote", url("shop"), check=False).stderr
    shop.run(["mkdir", "-p", f"{GIT}/store/objects/tmp_objdir-incoming-x"])
    shop.run(["touch", "-d", "2 hours ago", f"{GIT}/store/objects/tmp_objdir-incoming-x"])
    shop.run(["chown", "git-store:", f"{GIT}/store/objects/tmp_objdir-incoming-x"])
    assert "bytes on disk before" in shop.gear("gc-repo", "store").stdout
    assert "tmp_objdir" not in shop.sh(f"ls {GIT}/store/objects").stdout
    assert "pack-" in shop.sh(f"ls {GIT}/store/objects/pack").stdout
    shop.gear("delete-repo", "store", "store")
    assert shop.run(["id", "git-store"], check=False).returncode
    assert shop.sh(f"ls -A {GIT}").stdout == ".pushes\n"
    # one that comes later is opened by none of its keys
    shop.gear("create-repo", "store")
    assert "Permission denied" in git(shop, "ls-remote", url("store"), check=False).stderr


# As many pushes leave them: a pack and a branch each.
PACKS = """
cd /git/shop && for n in $(seq 21); do
    commit=$(GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a \
        git commit-tree -m $n 'master^{tree}') && git update-ref refs/heads/p$n $commit
    echo $commit | git pack-objects -q objects/pack/pack >/dev/null
done
"""


def test_many_pushes_are_packed_by_themselves(shop: Shell) -> None:
    number = int(shop.run(["id", "-u", "git-shop"]).stdout) - 1_934_464
    shop.run(["podman", "exec", "--user", f"{number}:{number}", "geard-githost", "sh", "-c", PACKS])
    packs = f"ls {GIT}/shop/objects/pack/*.pack | wc -l"
    assert int(shop.sh(packs).stdout) == 21
    commit(shop, "w", "second")
    git(shop, "-C", "w", "push", "-q", url("shop"), "master")
    eventually(lambda: int(shop.sh(packs).stdout) == 1, 60)
    git(shop, "clone", "-q", url("shop"), "c")
    assert served(shop, "c") == "first\nsecond\n"
    assert len(git(shop, "-C", "c", "branch", "-r").stdout.splitlines()) == 1 + 1 + 21


def test_several_at_once_one_killed_and_a_large_one(shop: Shell) -> None:
    """Pushes to branches of their own all arrive; one that is killed changes nothing; 200 MB come as they went."""
    push = f"GIT_SSH_COMMAND='{' '.join(['ssh', *OPTIONS, '-i', KEY])}' git push -q {url('shop')}"
    shop.sh(
        f"cd {WORK}/w && for n in 1 2 3 4; do {push} master:refs/heads/b$n & done; wait;"
        f" {push} master:refs/heads/b5"
    )
    refs = git(shop, "ls-remote", url("shop")).stdout
    names = [line.split("\t")[1].removeprefix("refs/heads/") for line in refs.splitlines()]
    assert names == ["HEAD", "b1", "b2", "b3", "b4", "b5", "master"]
    shop.sh(
        f"cd {WORK} && git init -q large && cd large && git config core.compression 0"
        " && head -c 200000000 /dev/urandom >data && git add data && git commit -qm large"
    )
    shop.sh(
        f"cd {WORK}/large && {{ setsid env {push} master:refs/heads/large & echo $! >../pid; }} >/dev/null 2>&1"
    )
    eventually(lambda: "tmp_objdir-" in shop.sh(f"ls {GIT}/shop/objects").stdout, 60)
    shop.run(["bash", "-c", f"kill -9 -- -$(cat {WORK}/pid)"])
    eventually(lambda: shop.gear("sessions", "-o", "name").stdout == "", 60)
    assert "large" not in git(shop, "ls-remote", url("shop")).stdout
    git(shop, "-C", "large", "push", "-q", url("shop"), "master:refs/heads/large")
    sums = f"cd {WORK}/large && sha256sum <data && git -C {GIT}/shop cat-file blob large:data | sha256sum"
    shop.run(["git", "config", "--global", "--add", "safe.directory", f"{GIT}/shop"])
    assert len(set(shop.sh(sums).stdout.split("\n")[:2])) == 1
