"""The words of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from geard.exchange import Session
from geard.images.sizes import show_bytes
from geard.request import Answer, Nothing, Request, Route
from geard.words import Word


class Pulled(Answer):
    image: str
    message: str = ""

    def text(self) -> str:
        return self.message


class PullImage(Request[Pulled]):
    """Bring the newest image of that name here. The pull goes on behind the answer."""

    route = Route("POST", "/images/pull", reach="shown")
    example = {"Image": "docker.io/library/nginx:1.29"}

    image: str
    engine: str = ""
    """the machine's default, where empty"""
    registry_only: bool = False
    """no peer is asked: what they have under that name may be older"""


class UnderWay(Word):
    image: str
    engine: str
    done: int
    """bytes, compressed, that have come"""
    total: int
    """… of so many, of the layers that were begun; 0 where nothing is known yet"""

    def text(self) -> str:
        return f"{show_bytes(self.done)} of {show_bytes(self.total)}" if self.total else "no layer yet"


class PullsUnderWay(Answer):
    pulls: tuple[UnderWay, ...]


class ListPulls(Request[PullsUnderWay]):
    """How far the images are that are being pulled now, whoever has asked for them."""

    route = Route("GET", "/images/pulls", scope="read", text=False, reach="shown")


class ListedImage(Word):
    id: str
    digest: str
    names: tuple[str, ...]
    size: int
    """bytes, uncompressed; layers that images share are counted with each"""
    created: str
    """RFC 3339, as the image says"""
    used_by: tuple[str, ...] = ()
    """gears whose definition in force is this image"""
    kept_for: tuple[str, ...] = ()
    """earlier versions that are kept: GEAR@VERSION"""
    containers: tuple[str, ...] = ()
    """others of the engine's containers that are made of it"""
    unused_since: str = ""
    """RFC 3339: when nothing of this was seen to use it first; empty where something does, or nobody has looked"""


class ImageList(Answer):
    engine: str
    images: tuple[ListedImage, ...]


class ListImages(Request[ImageList]):
    """The images that are here, and what needs them."""

    route = Route("GET", "/images", scope="read", text=False, reach="shown")

    engine: str = ""


class ShownImage(Answer):
    id: str
    names: tuple[str, ...]
    size: int
    """bytes of its layers, uncompressed"""
    architecture: str
    os: str
    manifest: str
    """digest of the manifest that it is handed on by"""
    manifests: tuple[str, ...] = ()
    """as registries gave them, every byte: their digests are the registries'"""
    digest: str = ""
    """which of them the engine takes for the image's own"""


class ShowImage(Request[ShownImage]):
    """One image that is here, by its whole name, its id, or NAME@DIGEST with a registry's digest: for hosts that
    want it. NotFound also where it could not be handed on.
    """

    route = Route("GET", "/images/show", scope="pull", text=False, reach="machine")
    example = {"Image": "docker.io/library/nginx:1.29"}

    image: str
    engine: str = ""


class RemovedImage(Word):
    id: str
    names: tuple[str, ...]
    size: int


class PrunedImages(Answer):
    dry_run: bool
    removed: tuple[RemovedImage, ...]
    waiting: int = 0
    """images that nothing uses, and that have not been unused for long enough"""
    kept: tuple[str, ...] = ()
    """what could not be removed, and why"""
    example: ClassVar[Mapping[str, Any]] = {
        "DryRun": False,
        "Removed": [{"Id": "0" * 64, "Names": ["docker.io/library/nginx:1.28"], "Size": 197_000_000}],
    }

    def text(self) -> str:
        verb = "Would remove" if self.dry_run else "Removed"
        lines = [
            f"{verb} {' '.join(each.names) or each.id[:12]} ({show_bytes(each.size)})" for each in self.removed
        ]
        lines += [f"Kept {why}" for why in self.kept]
        if self.waiting:
            lines.append(f"{self.waiting} more without a use, not for long enough yet")
        return "\n".join(lines) or "Nothing to remove"


class PruneImages(Request[PrunedImages]):
    """Remove images that no gear, none of its kept versions and no container has needed for some days."""

    route = Route("POST", "/images/prune", scope="admin", reach="machine")
    example = {"Days": 7, "DryRun": True}

    days: int | None = None
    """as `[images] keep-days` says, where nothing is given; 0: at once"""
    dry_run: bool = False
    engine: str = ""


class NamedImage(Answer):
    id: str
    name: str

    def text(self) -> str:
        return f"{self.name} is {self.id[:12]}"


class TagImage(Request[NamedImage]):
    """Give an image that is here another name."""

    route = Route("POST", "/images/tag", scope="admin", reach="machine")
    example = {"Image": "docker.io/library/nginx:1.29", "Name": "localhost/web:stable"}

    image: str
    name: str
    engine: str = ""


class GoneImage(Answer):
    image: str
    removed: bool
    """False where it was not there"""

    def text(self) -> str:
        return f"Removed {self.image}" if self.removed else f"{self.image} was not there"


class RemoveImage(Request[GoneImage]):
    """Remove a name, and with its last name the image. What a gear's versions need takes `force`; what a container
    is made of stays.
    """

    route = Route("DELETE", "/images", scope="admin", reach="machine")
    example = {"Image": "docker.io/library/nginx:1.28"}

    image: str
    engine: str = ""
    force: bool = False


class SaveImage(Request[Session]):
    """An image as an archive, of the format of `docker save`, on the session's output."""

    route = Route("POST", "/images/save", scope="pull", reach="machine")
    example = {"Image": "docker.io/library/nginx:1.29"}

    image: str
    engine: str = ""

    def told(self) -> str:
        return self.image


class LoadImage(Request[Session]):
    """Take in the images of an archive, which is the session's input: of `docker save`, or of the OCI layout."""

    route = Route("POST", "/images/load", scope="admin", reach="machine")
    example = {"Engine": "podman"}

    engine: str = ""


class TransferLine(Answer):
    """A command line."""

    argv: tuple[str, ...]


class DescribeTransfer(Request[TransferLine]):
    """The same for root on this machine, whose `gear` runs it by itself."""

    image: str = ""
    """to be saved; empty: to load"""
    engine: str = ""


class LogIn(Request[Nothing]):
    """Prove credentials to a registry and keep them for pulls."""

    route = Route("POST", "/registries/login", scope="admin", reach="machine")
    example = {"Registry": "registry.example:5000", "User": "alice", "Password": "open sesame"}

    registry: str
    user: str
    password: str
    engine: str = ""
