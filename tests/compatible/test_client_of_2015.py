"""The original's own client, as it was: what it put on the wire for each command, and the answer it needs.

A file of `golden/` is one exchange. `after:` names those that come before it on the same agent; then the request
as that client wrote it, a line of `---`, and the answer: its status, the headers that client reads, its text. `…`
stands for whatever is there. A body is sent as Go sent it, in chunks, the first of one byte.

What the client does with an answer: 202 is text to be printed, 204 is success, any other 2xx must be JSON and a
failure too, which is known by a Content-Type of exactly `application/json`.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest
from tests.fakes.host import FakeHost
from tests.fakes.terminal import agent

from geard.containers.requests import InstalledContainer
from geard.ports.requests import PortPair

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.http"))


@dataclass(frozen=True)
class Exchange:
    after: tuple[str, ...]
    head: tuple[str, ...]
    body: str
    status: str
    headers: tuple[str, ...]
    text: str

    @property
    def request(self) -> bytes:
        head = "".join(f"{line}\r\n" for line in self.head).encode() + b"\r\n"
        body = self.body.encode()
        if "Transfer-Encoding: chunked" not in self.head:
            return head + body
        return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:1], body[1:], b""))

    def differences(self, answer: Answer) -> list[str]:
        """What the client would miss."""
        missing = [want for want in self.headers if not any(fits(want, each) for each in answer.headers)]
        if not fits(self.status, answer.status):
            missing.append(f"{self.status}, got {answer.status}")
        if not fits(self.text, answer.text):
            missing.append(f"{self.text!r}, got {answer.text!r}")
        return missing


@dataclass(frozen=True)
class Answer:
    status: str
    headers: list[str]
    text: str


def fits(expected: str, found: str) -> bool:
    return bool(re.fullmatch(".*".join(map(re.escape, expected.split("…"))), found, re.DOTALL))


def read(name: str) -> Exchange:
    lines = (GOLDEN / f"{name}.http").read_text().split("\n")
    comment = [line for line in lines if line.startswith("#")]
    after = [line.removeprefix("# after:").split() for line in comment if line.startswith("# after:")]
    asked, _, answered = "\n".join(lines[len(comment) :]).partition("\n---\n")
    head, _, body = asked.partition("\n\n")
    answer, _, text = answered.rstrip("\n").partition("\n\n")
    status, *headers = answer.split("\n")
    return Exchange(
        tuple(name for names in after for name in names),
        tuple(head.split("\n")),
        body and body + "\n",
        status,
        tuple(headers),
        text and text + "\n",
    )


@pytest.fixture
def door(fake_host: FakeHost, tmp_path: Path) -> Generator[Path]:
    tmp_path.chmod(0o755)
    with agent(fake_host, tmp_path) as where:
        yield where


def ask(door: Path, request: bytes) -> Answer:
    """Read as far as the answer says; Go keeps its connections open."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(door))
        line.sendall(request)
        with line.makefile("rb") as answer:
            status = answer.readline().decode().strip()
            headers = list(iter(lambda: answer.readline().decode().strip(), ""))
            return Answer(status, headers, b"".join(body(answer, headers)).decode())


def body(answer: BinaryIO, headers: list[str]) -> Iterator[bytes]:
    named = dict(header.split(": ", 1) for header in headers)
    if named.get("Transfer-Encoding") != "chunked":
        yield answer.read(int(named.get("Content-Length", 0)))
        return
    while size := int(answer.readline(), 16):
        yield answer.read(size)
        answer.readline()


@pytest.mark.parametrize("name", NAMES)
def test_its_exchange(door: Path, name: str) -> None:
    """A question is asked until it is answered so: what systemd does comes behind the answer to who asked."""
    exchange = read(name)
    for earlier in exchange.after:
        assert ask(door, read(earlier).request).status.split()[1] in ("202", "204"), earlier
    end = time.monotonic() + 10
    while (missing := exchange.differences(ask(door, exchange.request))) and time.monotonic() < end:
        if not exchange.head[0].startswith("GET"):
            break
        time.sleep(0.05)
    assert not missing


def test_it_reads_no_other_protocol_in_the_header_of_ports() -> None:
    """Its `-p` knows TCP alone, and it gives up an install where the header has more than two numbers."""
    pairs = (PortPair(internal=53, external=4001, protocol="udp"), PortPair(internal=80, external=4000))
    assert InstalledContainer(id="dns", version="v", ports=pairs).headers() == {"X-PortMapping": "80:4000"}
    assert InstalledContainer(id="dns", version="v", ports=pairs[:1]).headers() == {}
