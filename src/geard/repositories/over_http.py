"""What git's clients ask by HTTP (gitprotocol-http(5), the smart one): two paths for each program. Pure.

GET  /git/shop/info/refs?service=git-upload-pack    what there is
POST /git/shop/git-upload-pack                      fetch; git-receive-pack: push
"""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from geard.failures import Denied, Invalid, NotFound

PREFIX = "/git/"
PIECE = 64 * 1024
_PROGRAMS = {"git-upload-pack": ("git", "upload-pack", "--strict"), "git-receive-pack": ("git", "receive-pack")}
_PATH = re.compile(r"/git/([A-Za-z0-9_.-]{2,68})/(info/refs|git-upload-pack|git-receive-pack)", re.ASCII)
_DUMB = re.compile(r"/git/[^/]+/(HEAD|objects/.*|info/.*)", re.DOTALL)
_VERSION = re.compile(r"(?:^|:)(version=[12])(?::|$)", re.ASCII)


@dataclass(frozen=True)
class Wanted:
    name: str
    """the repository's, `.git` behind it or not"""
    service: str
    listing: bool
    """whether what there is is asked for, and not sent"""
    protocol: str = ""
    """what git is told of the protocol's version: `version=2`"""

    @property
    def pushes(self) -> bool:
        return self.service == "git-receive-pack"

    @property
    def command(self) -> tuple[str, ...]:
        """But for the repository, which comes last."""
        return (
            *_PROGRAMS[self.service],
            "--stateless-rpc",
            *(("--http-backend-info-refs",) if self.listing else ()),
        )

    @property
    def type(self) -> str:
        return f"application/x-{self.service}-{'advertisement' if self.listing else 'result'}"

    @property
    def first(self) -> bytes:
        """What comes before all that the program says."""
        if not self.listing or self.protocol == "version=2":
            return b""
        line = f"# service={self.service}\n"
        return f"{len(line) + 4:04x}{line}0000".encode()


def parse_wanted(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Wanted:
    """Nothing of the question but what stands here goes on. Raises Denied, NotFound, Invalid."""
    found = _PATH.fullmatch(path)
    service = query.get("service", "") if found is not None and found[2] == "info/refs" else ""
    if (found is None and _DUMB.fullmatch(path)) or (
        found is not None and found[2] == "info/refs" and not service
    ):
        raise Denied("git's dumb protocol is not spoken here", hint="a git of 2010 or later has the smart one")
    if found is None:
        raise NotFound(f"there is no {path[:300]} here", hint=f"git clone http://localhost:43273{PREFIX}NAME")
    name, listing = found[1], found[2] == "info/refs"
    service = service if listing else found[2]
    if service not in _PROGRAMS:
        raise Denied(f"{service[:40]!r} is not let in: nothing but git's fetch and push is")
    if method != ("GET" if listing else "POST"):
        raise Invalid(f"{path[:300]} is not for {method[:20]}")
    if not listing and headers.get("content-type", "") != f"application/x-{service}-request":
        raise Invalid(f"that is no question of git's: its type is not application/x-{service}-request")
    # A push has no version 2: git's own server answers as if that had not been said.
    version = _VERSION.search(headers.get("git-protocol", "")) if service == "git-upload-pack" else None
    return Wanted(name, service, listing, version[1] if version is not None else "")


async def unpacked(pieces: AsyncGenerator[bytes], encoding: str) -> AsyncGenerator[bytes]:
    """A body as it was before gzip, a piece at a time, however much it becomes. Raises Invalid."""
    if encoding.lower() in ("", "identity"):
        async for piece in pieces:
            yield piece
        return
    if encoding.lower() not in ("gzip", "x-gzip"):
        raise Invalid(f"a body in {encoding[:20]!r} is not understood", hint="gzip, or none")
    unpacking = zlib.decompressobj(wbits=31)
    try:
        async for piece in pieces:
            left, out = piece, b""
            while left or len(out) == PIECE:  # as much as was asked for: there may be more
                out = unpacking.decompress(left, PIECE)
                left = unpacking.unconsumed_tail
                yield out
    except zlib.error as error:
        raise Invalid(f"the body is no gzip: {error}") from None
    if not unpacking.eof:
        raise Invalid("the body ended in the middle of its gzip")
