"""Images as engines keep them on disk, read so that they can be handed on: with the digests that they came with.

An engine unpacks layers and keeps, beside the files, what the archive was made of but their contents (the format
of github.com/vbatts/tar-split). Both together are the archive again, byte for byte: nothing is packed anew,
nothing is kept twice. Only read, without the engine: what changes meanwhile is found by the digests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from geard.failures import Unavailable

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
MANIFEST_LIMIT = 4 << 20
"""bytes; as registries have it"""


@dataclass(frozen=True)
class Layer:
    digest: str
    """of the archive as it is when nothing compresses it: sha256:…"""
    size: int
    split: Path
    """what the archive was made of"""
    root: Path
    """where its files are"""


@dataclass(frozen=True)
class Kept:
    """One image, whole."""

    id: str
    names: tuple[str, ...]
    config: bytes
    layers: tuple[Layer, ...]
    manifests: tuple[str, ...] = ()
    """as registries gave them, so their digests are the registries'"""
    digest: str = ""
    """which of them the engine takes for its own"""

    @property
    def manifest(self) -> bytes:
        """One whose layers are here as they are: a registry's, where it compresses nothing, or one made here."""
        here = [layer.digest for layer in self.layers]
        for text in self.manifests:
            found = parse_manifest(text)
            if [each.get("digest") for each in parts(found.get("layers"))] == here and _config(found) == self.id:
                return text.encode()
        return render_manifest(self)

    @property
    def platform(self) -> tuple[str, str]:
        """Architecture and operating system."""
        config = parse_manifest(self.config.decode(errors="replace"))
        return str(config.get("architecture", "")), str(config.get("os", ""))


class Store(Protocol):
    def names(self) -> Mapping[str, str]:
        """name with tag -> image id. Raises Unavailable where the store is laid out in another way."""
        ...

    def digests(self) -> Mapping[str, str]:
        """digest of a registry's manifest -> image id."""
        ...

    def kept(self, id: str) -> Kept | None:
        """None where it is not here. Raises Unavailable where it cannot be handed on."""
        ...


def digest_of(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def parse_manifest(text: str) -> dict[str, Any]:
    """Empty for what is none."""
    try:
        return part(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def part(value: object) -> dict[str, Any]:
    """What stands in a manifest where an object belongs; empty for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def parts(value: object) -> list[dict[str, Any]]:
    return [part(each) for each in cast("list[object]", value)] if isinstance(value, list) else []


def _config(manifest: Mapping[str, Any]) -> str:
    """The id of the image that a manifest describes."""
    return str(part(manifest.get("config")).get("digest", "")).removeprefix("sha256:")


def leads_to(digest: str, manifests: Sequence[str]) -> str:
    """The id of the image that `digest` means, by these manifests and nothing else; empty where they do not say.

    A digest that is a list's means whichever of its images is among them.
    """
    by_digest = {digest_of(text.encode()): parse_manifest(text) for text in manifests}
    found = by_digest.get(digest, {})
    if id := _config(found):
        return id
    inside = [_config(by_digest.get(str(each.get("digest")), {})) for each in parts(found.get("manifests"))]
    return next((id for id in inside if id), "")


def media_type(manifest: bytes) -> str:
    found = parse_manifest(manifest.decode())
    return str(found.get("mediaType") or f"{OCI}manifest.v1+json")


def render_manifest(kept: Kept) -> bytes:
    """The same bytes whenever and wherever it is made. Of the kind the image came with: what Docker's alone can
    say (a HEALTHCHECK) is passed over in the OCI's.
    """
    oci = any(f"{OCI}config.v1+json" in text for text in kept.manifests)
    if oci:
        kinds = f"{OCI}manifest.v1+json", f"{OCI}config.v1+json", f"{OCI}layer.v1.tar"
    else:
        kinds = (
            f"{DOCKER}distribution.manifest.v2+json",
            f"{DOCKER}container.image.v1+json",
            f"{DOCKER}image.rootfs.diff.tar",
        )
    manifest, config, layer = kinds
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": manifest,
            "config": {"mediaType": config, "digest": f"sha256:{kept.id}", "size": len(kept.config)},
            "layers": [{"mediaType": layer, "digest": each.digest, "size": each.size} for each in kept.layers],
        }
    ).encode()


def diff_ids(config: bytes) -> list[str]:
    ids = part(parse_manifest(config.decode(errors="replace")).get("rootfs")).get("diff_ids")
    return [str(each) for each in cast("list[object]", ids)] if isinstance(ids, list) else []


def cannot_hand_on(id: str, why: str) -> Unavailable:
    return Unavailable(f"the image {id[:12]} cannot be handed on: {why}")
