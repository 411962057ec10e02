"""Git repositories by HTTP on a real host: Debian's git as a user without rights, with tokens."""

from __future__ import annotations

import base64
import hmac
import json
import subprocess
from collections.abc import Generator

import pytest
from tests.lab import test_callbacks, test_git, test_ssh
from tests.lab.conftest import SETTINGS, Shell, eventually
from tests.lab.test_git import events

pytestmark = pytest.mark.lab

sshd = test_ssh.sshd
hosting = test_git.hosting
host = test_git.host

AT = "http://localhost:43273/git"
HOME = "/tmp/git-http"
HELPER = "!f() { echo username=any; echo password=$TOKEN; }; f"
SCOPES = {"reader": ("read",), "writer": ("operate",), "bounded": ("operate", "--only", "other-*")}
tokens: dict[str, str] = {}


@pytest.fixture(scope="module")
def shown(hosting: Shell) -> Generator[None]:
    """The tokens."""
    for name, (scope, *more) in SCOPES.items():
        made = hosting.gear("token", "create", f"git-{name}", "--replace", "--scope", scope, *more)
        tokens[name] = made.stdout.split()[-1]
    yield
    for name in SCOPES:
        hosting.gear("token", "revoke", f"git-{name}", check=False)


@pytest.fixture
def store(host: Shell, shown: None) -> Generator[Shell]:
    """The repository store, and nobody's home with a commit for it."""
    host.gear("create-repo", "store")
    host.sh(f"rm -rf {HOME} && mkdir {HOME} && cp /root/.gitconfig {HOME} && chown -R nobody: {HOME}")
    commit(host, "first")
    yield host
    host.sh(f"rm -rf {HOME}")


def git(host: Shell, *words: str, token: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """As nobody, who gets through the agent's door by a token alone; a credential helper has it."""
    assigned = [f"{name}={value}" for name, value in {"HOME": HOME, "GIT_TERMINAL_PROMPT": "0", **more}.items()]
    helper = ["-c", f"credential.helper={HELPER}"] if token else []
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "-C", HOME, *assigned]
    return host.run([*argv, f"TOKEN={token}", "git", *helper, *words], check=False)


def good(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert done.returncode == 0, done
    return done


def commit(host: Shell, text: str) -> None:
    good(git(host, "init", "-q", "w"))
    host.sh(f"echo {text} >>{HOME}/w/file && chown nobody: {HOME}/w/file")
    good(git(host, "-C", "w", "add", "file"))
    good(git(host, "-C", "w", "commit", "-qm", text))


def file_in(host: Shell, clone: str) -> str:
    return host.run(["cat", f"{HOME}/{clone}/file"]).stdout


def own_sessions(host: Shell) -> list[dict[str, object]]:
    found = json.loads(host.gear("sessions", "-o", "json").stdout)
    return [each for each in found if each["Id"] == "repo://store"]


def test_clone_push_fetch_with_tokens(store: Shell) -> None:
    read, write = tokens["reader"], tokens["writer"]
    assert f"by a token {AT}/made" in store.gear("create-repo", "made").stdout
    good(git(store, "-C", "w", "push", f"{AT}/store", "master", token=write))
    for version in ("0", "2"):
        clone = ("-c", f"protocol.version={version}", "clone", "-q", f"{AT}/store.git", f"c{version}")
        done = good(git(store, *clone, token=read, GIT_TRACE_PACKET="1"))
        assert ("version 2" in done.stderr) == (version == "2")
        assert file_in(store, f"c{version}") == "first\n"
    commit(store, "second")
    refused = git(store, "-C", "w", "push", f"{AT}/store", "master", token=read)
    assert refused.returncode and "403" in refused.stderr
    assert "remote: token git-reader may fetch store, not push to it" in refused.stderr
    shown = f"http.extraHeader=Authorization: Bearer {write}"
    good(git(store, "-c", shown, "-C", "w", "push", "-q", f"{AT}/store", "master", "master:a/é"))
    good(git(store, "-C", "c2", "pull", "-q", token=read))
    assert file_in(store, "c2") == "first\nsecond\n"
    # and root of the machine needs none
    assert store.run(["git", "ls-remote", f"{AT}/store", "a/*"]).stdout.endswith("\trefs/heads/a/é\n")
    eventually(
        lambda: "token git-writer" in [each["By"] for each in events(store) if each["Repository"] == "store"], 60
    )


def test_who_is_refused_is_told_why(store: Shell) -> None:
    asked = git(store, "ls-remote", f"{AT}/store")
    assert "could not read Username" in asked.stderr, "git was told to ask"
    wrong = git(store, "ls-remote", f"{AT}/store", token=tokens["reader"][:-1] + "-")
    assert "Authentication failed" in wrong.stderr and "remote: token git-reader is not known here" in wrong.stderr
    beyond = git(store, "ls-remote", f"{AT}/store", token=tokens["bounded"])
    assert "remote: token git-bounded may not ask about store" in beyond.stderr
    missing = git(store, "ls-remote", f"{AT}/nosuch", token=tokens["reader"])
    assert "remote: there is no repository nosuch here" in missing.stderr and "not found" in missing.stderr
    gone = store.gear("token", "create", "git-gone").stdout.split()[-1]
    good(git(store, "ls-remote", f"{AT}/store", token=gone))
    store.gear("token", "revoke", "git-gone")
    assert "Authentication failed" in git(store, "ls-remote", f"{AT}/store", token=gone).stderr


def test_nothing_but_gits_questions_is_answered(store: Shell) -> None:
    asks = "info/refs?service=git-upload-pack"
    done = {
        path: store.agent(
            "GET", f"/git/{path}", None, "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}"
        ).stdout
        for path in (
            f"store/{asks}",
            "store/HEAD",
            "store/info/refs",
            "store/objects/info/packs",
            "store/info/refs?service=git-upload-archive",
            "store/info/refs?service=--upload-pack%3Did",
            f"--upload-pack=id/{asks}",
            f"../../../etc/{asks}",
            f"store/../store/{asks}",
            f"%2e%2e/{asks}",
            f".pushes/{asks}",
            f"store%00/{asks}",
        )
    }
    assert done.pop(f"store/{asks}") == "200"
    assert {code[0] for code in done.values()} == {"4"}, done
    assert "dumb protocol is not spoken" in store.agent("GET", "/git/store/HEAD").stdout
    kind = "Content-Type: application/x-git-upload-pack-request"
    words = ("--data-binary", "nonsense", "-H", kind, "-H", "Content-Encoding: gzip")
    assert "no gzip" in store.agent("POST", "/git/store/git-upload-pack", None, *words).stdout


def test_hooks_run_and_limits_hold_as_by_ssh(store: Shell) -> None:
    store.run(["mkdir", "-p", "/etc/geard/git-hooks"])
    store.run(["tee", "/etc/geard/git-hooks/pre-receive"], stdin="#!/bin/sh\necho uid $(id -u) in $(pwd)\n")
    store.run(["chmod", "755", "/etc/geard/git-hooks/pre-receive"])
    try:
        done = good(git(store, "-C", "w", "push", f"{AT}/store", "master", token=tokens["writer"]))
    finally:
        store.run(["rm", "/etc/geard/git-hooks/pre-receive"])
    number = int(store.run(["id", "-u", "git-store"]).stdout) - 1_934_464
    assert f"remote: uid {number} in /git/store" in done.stderr
    store.sh(f"cd {HOME}/w && head -c 3000000 /dev/urandom >file")
    commit(store, "big")
    store.run(["tee", SETTINGS], stdin='[repositories]\npush-limit = "1m"\n')
    refused = git(store, "-C", "w", "push", f"{AT}/store", "master", token=tokens["writer"])
    assert refused.returncode and "exceeds maximum allowed size" in refused.stderr, refused


def test_a_large_push_is_held_by_nobody_and_a_broken_one_changes_nothing(store: Shell) -> None:
    """30 MB in chunks; bodies in gzip; one that is broken off in the middle."""
    store.sh(f"cd {HOME}/w && head -c 30000000 /dev/urandom >file")
    commit(store, "large")
    agent = store.run(["systemctl", "show", "-P", "MainPID", "geard"]).stdout.strip()
    peak = f"sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/{agent}/status"
    before = int(store.sh(f"echo 5 >/proc/{agent}/clear_refs; {peak}").stdout)
    done = good(git(store, "-C", "w", "push", f"{AT}/store", "master", token=tokens["writer"], GIT_TRACE_CURL="1"))
    assert "transfer-encoding: chunked" in done.stderr.lower()
    # names of many commits: a question long enough for git to pack it
    store.sh(
        f"cd {HOME}/w && for n in $(seq 40); do git -c safe.directory='*' commit-tree -m $n HEAD^{{tree}}; done"
        f" >../names && while read n; do echo update refs/heads/$n $n; done <../names"
        " | git -c safe.directory='*' update-ref --stdin && chown -R nobody: .git"
    )
    good(git(store, "-C", "w", "push", "-q", f"{AT}/store", "refs/heads/*", token=tokens["writer"]))
    fetched = good(git(store, "clone", "-q", f"{AT}/store", "c", token=tokens["reader"], GIT_TRACE_CURL="1"))
    assert "content-encoding: gzip" in fetched.stderr.lower()
    assert store.sh(f"cmp {HOME}/w/file {HOME}/c/file").stdout == ""
    assert int(store.sh(peak).stdout) - before < 20_000, "kB"
    store.run(["python3", "-c", BREAK_OFF, tokens["writer"]])
    eventually(lambda: own_sessions(store) == [], 60)
    assert "broken" not in store.run(["git", "ls-remote", f"{AT}/store"]).stdout


def test_a_webhook_is_told_of_each_push(store: Shell) -> None:
    """One that was down meanwhile later; addresses of the inside are refused, as everywhere."""
    url = "http://127.0.0.1:8766/pushed?key=secret"
    refused = store.gear("webhook-repo", "store", url, check=False)
    assert refused.returncode == 4 and "not a public address" in refused.stderr, refused
    store.run(["tee", SETTINGS], stdin='[callbacks]\nallow = ["127.0.0.0/8"]\n')
    asked = store.agent("PUT", "/repository/store/webhook", {"Url": url})
    assert asked.stdout == f"Pushes to store are told to {url}\n" == store.gear("webhook-repo", "store").stdout
    good(git(store, "-C", "w", "push", "-q", f"{AT}/store", "master", token=tokens["writer"]))

    def waiting() -> list[dict[str, str]]:
        found = json.loads(store.gear("callback", "list", "-o", "json").stdout)
        return [each for each in found if each["What"] == "push to store" and each["Problem"]]

    eventually(waiting, 60)
    (entry,) = waiting()
    test_callbacks.receive(store)
    try:
        store.gear("callback", "retry", entry["Id"], check=False)  # it may have come by itself
        eventually(lambda: test_callbacks.told(store), 60)
    finally:
        store.sh("systemctl stop receiver")
        found = test_callbacks.told(store)
        store.run(["rm", "-f", "/root/told"])
    headers, raw = found[0]["headers"], base64.b64decode(str(found[0]["body"]))
    assert isinstance(headers, dict) and found[0]["path"] == "/pushed?key=secret"
    key = base64.b64decode(store.gear("callback", "key").stdout.strip().removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + raw
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"
    told = json.loads(raw)
    assert (told["Repository"], told["By"]) == ("store", "token git-writer")
    head = store.run(["git", "-c", "safe.directory=*", "-C", f"{HOME}/w", "rev-parse", "HEAD"]).stdout.strip()
    assert told["Changes"] == [{"Ref": "refs/heads/master", "Old": "", "New": head}]
    assert "Nobody is told" in store.gear("webhook-repo", "store", "--remove").stdout


# Sends the beginning of a push, and goes.
BREAK_OFF = """
import socket, sys
line = socket.create_connection(("127.0.0.1", 43273))
old, new, ref = "0" * 40, "1" * 40, "refs/heads/broken"
command = f"{old} {new} {ref}\\0 report-status side-band-64k"
body = f"{len(command) + 4:04x}{command}0000".encode() + b"PACK" + bytes([0, 0, 0, 2, 0, 0, 0, 9]) + b"x" * 70000
line.sendall(f"POST /git/store/git-receive-pack HTTP/1.1\\r\\nHost: localhost\\r\\n"
    f"Authorization: Bearer {sys.argv[1]}\\r\\nContent-Type: application/x-git-receive-pack-request\\r\\n"
    f"Transfer-Encoding: chunked\\r\\n\\r\\n{len(body):x}\\r\\n".encode() + body)
line.close()
"""
