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
    return host.run(["timeout", "20", *argv], check=False)


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
    for number, path in enumerate(("shop", "~", "shop.git", "/shop", "~/", f"{GIT}/shop")):
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
    "command",
    [
        (),
        ("-t",),
        ("id",),
        ("sh",),
        ("git-upload-pack shop; id",),
        ("git-upload-pack --upload-pack=id shop",),
        ("git-upload-pack $(id)",),
        ("git-shell shop",),
        ("git-upload-pack 'shop",),
        ("git --exec-path=/tmp upload-pack",),
        ("-s", "sftp"),
    ],
)
def test_nothing_else_is_let_in(shop: Shell, command: tuple[str, ...]) -> None:
    done = ssh(shop, *command)
    assert done.returncode == 125 and "uid=" not in done.stdout
    assert "nothing but git's fetch and push is let in" in done.stderr or "and no other" in done.stderr


def test_no_forwarding(shop: Shell) -> None:
    assert "administratively prohibited" in ssh(shop, "-W127.0.0.1:22").stderr.lower()
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


def test_a_hook_that_came_otherwise_never_runs(shop: Shell) -> None:
    """Its own configuration and hooks decide nothing about what is run."""
    shop.sh(f"printf '#!/bin/sh\\ntouch /git/shop/ran\\n' >{GIT}/shop/evil; chmod 755 {GIT}/shop/evil")
    shop.sh(
        f"cd {GIT}/shop && mkdir hooks && for h in post-receive pre-receive update; do cp evil hooks/$h; done"
        " && git config core.hooksPath /git/shop/hooks && git config core.fsmonitor /git/shop/evil"
        " && git config uploadpack.packObjectsHook /git/shop/evil && git config core.sshCommand /git/shop/evil"
        " && git config core.alternateRefsCommand /git/shop/evil && chown -R git-shop: ."
    )
    commit(shop, "w", "more")
    git(shop, "-C", "w", "push", "-q", url("shop"), "master")
    git(shop, "clone", "-q", url("shop"), "c")
    assert served(shop, "c") == "first\nmore\n"
    assert shop.run(["test", "-e", f"{GIT}/shop/ran"], check=False).returncode


# --- made from others


def test_from_another_of_this_machine(shop: Shell) -> None:
    git(shop, "-C", "w", "push", "-q", url("shop"), "master:refs/heads/a/b", "master:refs/tags/v1")
    for number, source in enumerate(("shop", "repo://shop", f"{GIT}/shop")):
        name = f"copy{number}"
        assert f"{name} is filled" in shop.gear("create-repo", name, source).stdout
        shop.gear("keys", "--repo", name, "--key-file", f"{KEY}.pub")
        refs = git(shop, "ls-remote", url(name)).stdout
        assert [line.split("\t")[1] for line in refs.splitlines()] == [
            *("HEAD", "refs/heads/a/b", "refs/heads/master", "refs/tags/v1")
        ]
    shop.gear("create-repo", "empty")
    assert "copy is filled" in shop.gear("create-repo", "copy", "empty").stdout
    assert "no repository nosuch" in shop.gear("create-repo", "x", "nosuch", check=False).stderr
    assert "x" not in repositories(shop)


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
        "ext::sh%20-c%20id://x/y",
        "file:///etc",
        "/etc/passwd",
        "--upload-pack=id",
        "ssh://host/x",
        "host:path",
        "https://me:secret@example.com/x",
        "-oProxyCommand=id",
        "fd::17",
        "../shop",
    ],
)
def test_what_nothing_is_cloned_from(host: Shell, source: str) -> None:
    done = host.gear("create-repo", "x", "--", source, check=False)
    assert done.returncode == 2 and "secret" not in done.stderr
    assert repositories(host) == {}


# --- names


def test_names(host: Shell) -> None:
    long = "r" * 64
    for name in ("git-test", "t.i.g", "git", "ab", long):
        host.gear("create-repo", name)
        host.gear("keys", "--repo", "--write", name, "--key-file", f"{KEY}.pub")
        login = repositories(host)[name]["Login"]
        commit(host, name, name)
        git(host, "-C", name, "push", "-q", f"{login}@127.0.0.1:{name}", "HEAD:refs/heads/é/ü/漢字", "HEAD")
        refs = git(host, "-c", "core.quotePath=false", "ls-remote", f"{login}@127.0.0.1:~").stdout
        assert "refs/heads/é/ü/漢字\n" in refs and "refs/heads/master\n" in refs
    for bad in ("", "a", "..", "a/../b/c", ".x", "x" * 65, "a b", "-x"):
        assert host.gear("create-repo", "--", bad, check=False).returncode == 2, bad
