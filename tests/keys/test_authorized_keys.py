"""What sshd is answered, from the disk alone, and how a login's words are understood."""

from __future__ import annotations

import io
import ipaddress
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import pytest
from tests.fakes.terminal import Terminal, terminal
from tests.keys.test_public import ED25519, LINES

from geard.containers import slots
from geard.keys.public import PublicKey, parse_key, parse_keys
from geard.keys.unit_hooks import authorized_keys
from geard.sessions.programs import SFTP, SHELL, program, variables

Ask = Callable[..., str]


@pytest.fixture
def gear(tmp_path: Path) -> Generator[Terminal]:
    with terminal(tmp_path, "local") as found:
        found.ok(
            "install", "geard/sample", "web", "-p", "8080:4000,9090:127.0.0.1:4001,53:4002/udp,80:127.0.0.2:4003"
        )
        found.ok("install", "geard/sample", "db", "-p", "none")
        found.ok("keys", "web", stdin="\n".join(LINES))
        yield found


@pytest.fixture
def ask(gear: Terminal) -> Ask:
    def asked(key: PublicKey, slot: int, more: int = 0) -> str:
        out = io.StringIO()
        # sshd's fingerprint of a certificate is that of its key, which is of no use
        fingerprint = "SHA256:none" if "-cert-" in key.type else key.fingerprint
        uid = str(slots.uid_base(slot) + more)
        with redirect_stdout(out), mock.patch.object(authorized_keys, "BASE", str(gear.host.paths.base)):
            assert authorized_keys.main(["ctr-x", uid, fingerprint, key.type, key.value]) == 0
        return out.getvalue()

    return asked


def test_it_knows_slots_as_the_rest_does() -> None:
    assert authorized_keys.FIRST_UID == slots.FIRST_UID and authorized_keys.RANGE == slots.RANGE
    bridge = slots.Bridge(ipaddress.IPv4Network("10.0.0.0/16"), None)
    assert slots.addresses(bridge, 0)[0] == f"10.0.0.{authorized_keys.FIRST_ADDRESS}"


def test_a_key_that_opens_it_and_what_it_may(ask: Ask) -> None:
    key = parse_key(ED25519)
    targets = (
        *("10.183.0.10:*", "127.0.0.1:4000", "localhost:4000", "127.0.0.1:4001", "localhost:4001"),
        "127.0.0.2:4003",
    )
    options = ",".join(["restrict", "pty", "port-forwarding", *(f'permitopen="{each}"' for each in targets)])
    assert ask(key, 0) == f"{options} {key.text}\n"


def test_every_plain_key(ask: Ask) -> None:
    for key in parse_keys("\n".join(LINES)):
        if "-cert-" not in key.type:
            assert ask(key, 0).endswith(f" {key.text}\n")


def test_a_certificate_is_known_by_its_authority(ask: Ask) -> None:
    """What is printed would let in others of that authority: sshd asks about each that comes."""
    found = [key for key in parse_keys("\n".join(LINES)) if "-cert-" in key.type]
    assert len(found) == 3
    authorities = {ask(key, 0).split(" ", 1)[1] for key in found}
    assert len(authorities) == 1 and authorities.pop().startswith("ssh-ed25519 AAAA")
    for key in found:
        assert ',cert-authority,principals="ctr-web" ' in ask(key, 0)
        assert ask(key, 1) == ""


def test_what_opens_nothing(ask: Ask, gear: Terminal) -> None:
    key = parse_key(ED25519)
    assert ask(key, 1) == "", "another gear"
    assert ask(key, 0, more=1) == "", "another of its users"
    assert ask(key, 7) == "" == ask(key, -1) == ask(key, -30)
    gear.ok("remove-keys", "web", "--all")
    assert ask(key, 0) == ""
    gear.ok("keys", "web", stdin=ED25519)
    assert ask(key, 0)
    gear.ok("delete", "web")
    assert ask(key, 0) == ""


def test_a_file_that_holds_another_key_opens_nothing(ask: Ask, gear: Terminal) -> None:
    key, other = parse_key(ED25519), parse_key(LINES[0])
    file = gear.host.paths.base / "keys" / key.id[:2] / key.id
    file.write_text(other.text)
    assert ask(key, 0) == ""


def test_it_reads_few_modules() -> None:
    """Somebody waits for each."""
    words = [
        sys.executable,
        "-IS",
        "-X",
        "importtime",
        authorized_keys.__file__,
        "ctr-x",
        "1",
        "SHA256:x",
        "t",
        "k",
    ]
    read = subprocess.run(words, capture_output=True, text=True, check=True).stderr
    assert not [name for name in ("re", "hashlib", "base64", "json", "pathlib") if f"| {name}\n" in read]


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (None, ("shell", SHELL)),
        ("ls -l", ("command", ("/bin/sh", "-c", "ls -l"))),
        ("/usr/lib/openssh/sftp-server", ("sftp", SFTP)),
        ("/usr/lib/openssh/sftp-server -l INFO -f AUTH", ("sftp", SFTP)),
        ("internal-sftp", ("sftp", SFTP)),
        ("internal-sftp; id", ("command", ("/bin/sh", "-c", "internal-sftp; id"))),
        ("", ("command", ("/bin/sh", "-c", ""))),
    ],
)
def test_what_is_run(command: str | None, what: tuple[str, tuple[str, ...]]) -> None:
    assert program(command) == what


def test_of_its_variables_only_the_terminals_kind() -> None:
    assert variables("xterm-256color", tty=True) == {"TERM": "xterm-256color"}
    for term in ("", "x y", "$(id)", "../x", "x\ny", "x" * 80):
        assert variables(term, tty=True) == {}
    assert variables("xterm", tty=False) == {}
