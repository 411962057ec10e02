"""What is taken for a public key, and what is said of what is none."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geard.failures import Invalid
from geard.keys.public import PLAIN, TYPES, id_start, parse_key, parse_keys, shown

GOOD = (Path(__file__).parent / "good.pub").read_text()
LINES = [line for line in GOOD.splitlines() if line and not line.startswith("#")]
ED25519 = next(line for line in LINES if line.startswith("ssh-ed25519 "))
README = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEFHzD8+v1I2YJ6oX"
    "evct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D8HfdOV0IAdx4O7PtixWKn5y2hMNG0z"
    "QPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jMZEnDkbUvxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPK"
    "cF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc9c9WhQ=="
)


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def line(kind: str, *parts: bytes) -> str:
    return f"{kind} {base64.b64encode(b''.join(map(string, (kind.encode(), *parts)))).decode()}"


def refused(text: str) -> str:
    with pytest.raises(Invalid) as failure:
        parse_key(text)
    return failure.value.message


def test_every_type_is_taken() -> None:
    found = parse_keys(GOOD)
    assert [key.text for key in found] == [" ".join(line.split()[:2]) for line in LINES]
    assert {key.type for key in found} >= set(PLAIN)
    assert len([key for key in found if "-cert-" in key.type]) == 3
    assert {key.type for key in found} <= set(TYPES)


def test_the_readmes_key_and_its_fingerprint() -> None:
    key = parse_key(README)
    assert (key.text, key.fingerprint) == (README, "SHA256:1M4RzhMyWuFS/86uPY/ce2prh/dVTHW7iD2RhpquOZA")
    assert key.id == "1M4RzhMyWuFS_86uPY_ce2prh_dVTHW7iD2RhpquOZA" and shown(key.id) == key.fingerprint


def test_comments_and_repetitions_are_not_kept() -> None:
    found = parse_keys(f"\n# mine\n{ED25519}\n\r\n  {ED25519.rsplit(' ', 1)[0]} another comment  \n")
    assert [key.text for key in found] == [" ".join(ED25519.split()[:2])]


@pytest.mark.parametrize(
    "options",
    [
        'command="/bin/sh"',
        "no-pty",
        'environment="PATH=/tmp",no-pty',
        "cert-authority",
        'command="echo ssh-rsa AAAA"',
        "restrict",
        'from="*"',
    ],
)
def test_options_are_refused(options: str) -> None:
    assert refused(f"{options} {ED25519}") == "it has options before the key"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "that is no public key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "that is a private key"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "DSA keys are let in by no sshd of today"),
        ("ssh-rsa", "ssh-rsa has no key behind it"),
        ("ssh-rsa AAAA", "it is no whole ssh-rsa key: it ends too early"),
        ("ssh-rsa ÄÖ", "what stands behind ssh-rsa is not base64"),
        ("ssh-rsa A", "what stands behind ssh-rsa is not base64"),
        ("ssh-x AAAA", "there is no type of key 'ssh-x'"),
        (f"{ED25519}\n{ED25519}", "that is no public key"),
        (ED25519.replace("ssh-ed25519 ", "ssh-rsa ", 1), "the bytes say another type"),
        (line("ssh-ed25519", b"x" * 31), "it is not of 32 bytes"),
        (line("ssh-ed25519", b"x" * 32, b"more"), "something follows it"),
        (line("ssh-rsa", b"\1\0\1", b"\xff" * 64), "of 512 bits, and sshd wants 1024 at least"),
        (line("ecdsa-sha2-nistp256", b"nistp384", b"\4" + b"x" * 96), "the bytes say another curve"),
        (line("ecdsa-sha2-nistp256", b"nistp256", b"\2" + b"x" * 64), "that is no point of its curve"),
        ("x" * 20_000, "that is no public key"),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    assert why in refused(text)


def test_a_hosts_certificate_is_none_of_a_user() -> None:
    cert = next(each for each in LINES if each.startswith("ssh-ed25519-cert"))
    blob = bytearray(base64.b64decode(cert.split()[1]))
    at = 4 + len("ssh-ed25519-cert-v01@openssh.com") + 4 + 32 + 4 + 32 + 8  # a nonce, the key, the serial number
    assert blob[at : at + 4] == b"\0\0\0\1"
    blob[at + 3] = 2
    assert "it certifies a host" in refused(f"{cert.split()[0]} {base64.b64encode(blob).decode()}")


def test_all_lines_that_are_wrong_are_told() -> None:
    with pytest.raises(Invalid) as failure:
        parse_keys(f"{ED25519}\nssh-rsa AAAA\n\nno-pty {ED25519}\n")
    assert failure.value.message == (
        "no key was taken: line 2: it is no whole ssh-rsa key: it ends too early (and 1 more)"
    )
    found: Any = failure.value.data
    assert [each["index"] for each in found] == [1, 2]
    with pytest.raises(Invalid):
        parse_keys("# nothing\n")


@pytest.mark.parametrize("cut", range(1, 50, 7))
def test_half_a_key_is_none(cut: int) -> None:
    for each in LINES:
        kind, value = each.split()[:2]
        blob = base64.b64decode(value)[:-cut]
        assert "no whole" in refused(f"{kind} {base64.b64encode(blob).decode()}")


@given(st.text())
def test_anything_is_a_key_or_refused(text: str) -> None:
    for given_text in (text, f"ssh-rsa {text}", f"{text} {ED25519}"):
        try:
            found = parse_key(given_text)
        except Invalid:
            continue
        assert found.text.split() == [found.type, found.value] and found.text.isascii()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_or_refused(blob: bytes) -> None:
    for kind in TYPES:
        head = string(kind.encode())
        with pytest.raises(Invalid):
            parse_key(f"{kind} {base64.b64encode(head + blob).decode()}")


def test_the_beginning_of_a_fingerprint() -> None:
    assert id_start("SHA256:1M4RzhMyWuFS/86") == "1M4RzhMyWuFS_86" == id_start("1M4RzhMyWuFS_86")
    for wrong in ("", "SHA256:", "SHA256:abc", "MD5:aa:bb", "../../../etc", "x" * 44):
        with pytest.raises(Invalid):
            id_start(wrong)
