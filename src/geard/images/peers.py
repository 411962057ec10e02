"""Other hosts as registries: which of them has an image, whether it is the one that was asked for.

A peer is believed about a name as a mirror is. About a digest nobody is: the registry's manifests come along, and
lead to the image's configuration by digests alone, and that to the layers.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from geard.dispatch.peers import Way, ask_peer, way_to
from geard.failures import Failure, Unavailable
from geard.host.paths import Paths
from geard.host.storage import Changes, read_text
from geard.host.stores import MANIFEST_LIMIT, digest_of, leads_to
from geard.images.requests import ShowImage, ShownImage
from geard.words import Word, decode, encode

log = logging.getLogger(__name__)

LOOK_UP_SECONDS = 2.0
"""for all peers together, side by side"""
STALL_SECONDS = 30
"""a pull from a peer that gets nothing for so long is given up"""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class Offer:
    peer: str
    id: str
    manifests: tuple[str, ...]
    """those that lead to the image"""
    digest: str
    """the registry's; empty where the peer has none"""


async def look_up(name: str, peers: Sequence[str]) -> list[Offer]:
    """What they offer under a complete name, in their order. Never fails: there is the registry."""

    async def ask(peer: str) -> Offer | None:
        try:
            return offer(peer, name, await ask_peer(peer, ShowImage(image=name)))
        except Failure as failure:
            log.info("%s has no %s to pull: %s", peer, name, failure)
        return None

    asking = [asyncio.create_task(ask(peer), name=f"peer {peer}") for peer in dict.fromkeys(peers)]
    if not asking:
        return []
    done, late = await asyncio.wait(asking, timeout=LOOK_UP_SECONDS)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
    found = [task.result() for task in asking if task in done]
    return [each for each in found if each is not None]


def offer(peer: str, name: str, shown: ShownImage) -> Offer | None:
    """None for what is not what was asked for, or not for this machine. Pure."""
    if not _ID.fullmatch(shown.id):
        return None
    if shown.os != "linux" or shown.architecture != _ARCHITECTURES.get(platform.machine(), platform.machine()):
        return None
    if sum(map(len, shown.manifests)) > MANIFEST_LIMIT:
        return None
    manifests = shown.manifests
    known = {digest_of(text.encode()) for text in manifests}
    pinned = name.partition("@")[2]
    if pinned and leads_to(pinned, manifests) != shown.id:
        return None
    digest = pinned or (shown.digest if shown.digest in known else "")
    if digest and leads_to(digest, manifests) != shown.id:
        digest, manifests = "", ()
    return Offer(peer, shown.id, manifests if digest else (), digest)


def lay_out(folder: Path, way: Way) -> None:
    """A folder with what a pull proves itself by, for root's eyes alone (containers-certs.d(5))."""
    changes = Changes()
    changes.folder(folder.parent, 0o700)
    changes.folder(folder, 0o700)
    for name, text in (("ca.crt", way.authority), ("client.cert", way.certificate), ("client.key", way.key)):
        changes.write(folder / name, text, 0o600)


def ways(offers: Sequence[Offer]) -> list[tuple[Offer, Way]]:
    found: list[tuple[Offer, Way]] = []
    for each in offers:
        with suppress(Failure):
            found.append((each, way_to(each.peer)))
    return found


class Origin(Word):
    """What a registry says of an image that came from a peer."""

    digest: str
    manifests: tuple[str, ...]


def keep_origin(paths: Paths, each: Offer) -> None:
    """So that it is known by the registry's digest here too, and can be handed on with it."""
    if not each.digest:
        return
    with Changes() as changes:
        changes.folder(paths.state / "images")
        text = encode(Origin(digest=each.digest, manifests=each.manifests)).decode()
        changes.write(paths.state / "images" / each.id, text, 0o600)


def origin(paths: Paths, id: str) -> Origin | None:
    """None where nothing is known, or not to be read. What is written there is believed no more than a peer."""
    if not _ID.fullmatch(id):
        return None
    try:
        found = decode(Origin, read_text(paths.state / "images" / id) or "{}")
    except (Failure, Unavailable):
        return None
    return found if leads_to(found.digest, found.manifests) == id else None


def id_of(paths: Paths, digest: str) -> str:
    """The image that a registry's digest means, of those that came from peers; empty where none does."""
    with suppress(FileNotFoundError):
        for path in (paths.state / "images").iterdir():
            if (found := origin(paths, path.name)) is not None and digest == found.digest:
                return path.name
    return ""
