"""Git, and sources to be built, by TLS from another machine: with its certificate, with a token, with both."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from tests.lab import test_doors
from tests.lab.conftest import Shell

pytestmark = pytest.mark.lab

h2, managed = test_doors.h2, test_doors.managed

HELD = "/etc/geard/hosts/h1"
WORK = "/root/git-afar"
NAME = "afar-git"


@pytest.fixture(scope="module")
def away(managed: Shell, h2: Shell) -> Iterator[Shell]:
    """h2, which holds a certificate of the scope admin, with a commit for a repository of h1."""
    managed.lab_does("images", "githost", "build-static")
    managed.gear("delete-repo", NAME)
    h2.sh(
        f"rm -rf {WORK} && mkdir -p {WORK}/src && cd {WORK} && git init -q -b master src && cd src"
        " && git config user.name me && git config user.email me@example.com"
        " && echo '<h1>afar</h1>' >index.html && git add . && git commit -qm first"
    )
    h2.run(["tee", f"{WORK}/authority.pem"], stdin=managed.agent("GET", "/authority").stdout)
    yield h2
    h2.run(["rm", "-rf", WORK])
    managed.gear("delete-repo", NAME)
    managed.sh("gear builds remove afar-sent; podman rmi -f t-afar; gear token revoke afar-reader", check=False)


@pytest.fixture(scope="module")
def url(away: Shell) -> str:
    """As it is printed there."""
    made = away.gear("create-repo", f"h1/{NAME}").stdout
    return made.split()[-1]


def git(
    host: Shell, *words: str, certificate: str = "", token: str = "", authority: str = f"{WORK}/authority.pem"
) -> subprocess.CompletedProcess[str]:
    given = {"http.sslCAInfo": authority}
    if certificate:
        given |= {"http.sslCert": certificate, "http.sslKey": certificate}
    if token:
        given["http.extraHeader"] = f"Authorization: Bearer {token}"
    options = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
    return host.run(["env", "-C", WORK, "GIT_TERMINAL_PROMPT=0", "git", *options, *words], check=False)


def test_a_certificate_alone_and_a_token_alone_open_what_they_may(away: Shell, managed: Shell, url: str) -> None:
    assert url == f"https://{managed.address}:43273/git/{NAME}"
    pushed = git(away, "-C", "src", "push", "-q", url, "master", certificate=HELD)
    assert pushed.returncode == 0, pushed
    reader = managed.gear("token", "create", "afar-reader", "--replace", "--scope", "read").stdout.split()[-1]
    for number, shown in enumerate(({"certificate": HELD}, {"token": reader})):
        cloned = git(away, "clone", "-q", url, f"c{number}", **shown)
        assert cloned.returncode == 0, cloned
        assert away.run(["cat", f"{WORK}/c{number}/index.html"]).stdout == "<h1>afar</h1>\n"
    refused = git(away, "-C", "src", "push", url, "master:other", token=reader)
    assert "remote: token afar-reader may fetch afar-git, not push to it" in refused.stderr, refused
    # Whoever shows both is who the token says: it may be less.
    both = git(away, "-C", "src", "push", url, "master:other", certificate=HELD, token=reader)
    assert "remote: token afar-reader may fetch afar-git, not push to it" in both.stderr, both
    # and a token that is none is not made good by a certificate.
    wrong = git(away, "ls-remote", url, certificate=HELD, token=f"{reader[:-1]}-")
    assert wrong.returncode and "refs/" not in wrong.stdout, wrong
    nobody = git(away, "ls-remote", url)
    assert "could not read Username" in nobody.stderr, nobody
    asked = managed.sh("journalctl -u geard -o cat -n 2000").stdout
    assert "certificate h2, TLS from" in asked


def test_strangers_on_either_side_are_refused_in_the_handshake(away: Shell, managed: Shell, url: str) -> None:
    """A server that no authority of ours vouches for; a certificate of somebody else's authority."""
    unknown = git(away, "ls-remote", url, certificate=HELD, authority="/etc/ssl/certs/ca-certificates.crt")
    assert unknown.returncode and "certificate" in unknown.stderr.lower(), unknown
    away.sh(
        f"cd {WORK} && openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=h2 -days 1 -keyout k -out c 2>/dev/null"
        " && cat c k >foreign.pem"
    )
    foreign = git(away, "ls-remote", url, certificate=f"{WORK}/foreign.pem")
    assert foreign.returncode and "refs/" not in foreign.stdout, foreign
    plain = git(away, "ls-remote", url.replace("https:", "http:"))
    assert plain.returncode, plain


def test_a_source_is_sent_and_built_over_there(away: Shell, managed: Shell) -> None:
    said = away.sh(f"cd {WORK} && gear build ./src geard/build-static t-afar --host h1 --name afar-sent")
    assert "t-afar is" in said.stdout, said
    run = ["podman", "run", "--rm", "--network=none", "t-afar", "cat", "/srv/site/index.html"]
    assert managed.run(run).stdout == "<h1>afar</h1>\n"
    assert managed.sh("ls /var/lib/containers/builds/.sources 2>/dev/null", check=False).stdout == ""
    assert '"sent://' in away.gear("builds", "show", "-o", "json", "--at", "h1", "afar-sent").stdout
