"""Podman's store (containers/storage, driver overlay): `overlay`, `overlay-images`, `overlay-layers`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from geard.failures import Unavailable
from geard.host.stores import MANIFEST_LIMIT, Kept, Layer, cannot_hand_on, diff_ids, digest_of

_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)


class PodmanStore:
    def __init__(self, root: Path = Path("/var/lib/containers/storage")) -> None:
        self._root = root
        self._known: dict[str, tuple[tuple[int, int], list[dict[str, Any]]]] = {}

    def names(self) -> Mapping[str, str]:
        return {str(name): id for id, image in self._images().items() for name in image.get("names") or ()}

    def digests(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for id, image in self._images().items():
            digests = cast("dict[str, str]", image.get("big-data-digests") or {})
            found |= {digest: id for name, digest in digests.items() if name.startswith("manifest")}
        return found

    def kept(self, id: str) -> Kept | None:
        image = self._images().get(id)
        if image is None:
            return None
        names = [str(each) for each in image.get("big-data-names") or ()]
        config = self._datum(id, f"sha256:{id}")
        if digest_of(config) != f"sha256:{id}":
            raise cannot_hand_on(id, "its configuration is not what its id says")
        manifests = {
            self._datum(id, name).decode(errors="replace"): None for name in names if name.startswith("manifest")
        }
        return Kept(
            id=id,
            names=tuple(str(name) for name in image.get("names") or ()),
            config=config,
            layers=self._layers(id, str(image.get("layer") or ""), config),
            manifests=tuple(manifests),
            digest=str(image.get("digest") or ""),
        )

    def _layers(self, id: str, top: str, config: bytes) -> tuple[Layer, ...]:
        """From the one below all. Raises Unavailable."""
        by_id = {
            str(layer["id"]): layer
            for name in ("layers", "volatile-layers")
            for layer in self._list("layers", name)
        }
        chain: list[Layer] = []
        while top:
            layer = by_id.get(top)
            if layer is None or not _ID.fullmatch(top) or len(chain) > 1_000:
                raise cannot_hand_on(id, f"its layer {top[:12]} is not here")
            split = self._root / "overlay-layers" / f"{top}.tar-split.gz"
            digest, size = layer.get("diff-digest"), layer.get("diff-size")
            if not digest or not size or not split.exists():
                raise cannot_hand_on(id, f"of its layer {top[:12]} the archive is not known")
            chain.append(Layer(str(digest), int(size), split, self._root / "overlay" / top / "diff"))
            top = str(layer.get("parent") or "")
        chain.reverse()
        if [layer.digest for layer in chain] != diff_ids(config):
            raise cannot_hand_on(id, "its layers are not those of its configuration")
        return tuple(chain)

    def _datum(self, id: str, name: str) -> bytes:
        """Raises Unavailable."""
        file = name if re.fullmatch("[a-zA-Z0-9]+", name) else f"={base64.b64encode(name.encode()).decode()}"
        try:
            with (self._root / "overlay-images" / id / file).open("rb") as source:
                return source.read(MANIFEST_LIMIT)
        except OSError as error:
            raise cannot_hand_on(id, f"{name[:20]}: {error.strerror}") from None

    def _images(self) -> dict[str, dict[str, Any]]:
        return {str(each["id"]): each for each in self._list("images", "images") if _ID.fullmatch(str(each["id"]))}

    def _list(self, kind: str, name: str) -> list[dict[str, Any]]:
        """One of its lists, read again when it has changed; empty where there is none. Raises Unavailable."""
        path = self._root / f"overlay-{kind}" / f"{name}.json"
        try:
            status = path.stat()
            now = status.st_ino, status.st_mtime_ns
            known = self._known.get(name)
            if known is None or known[0] != now:
                found = cast("list[dict[str, Any]]", json.loads(path.read_bytes()))
                known = self._known[name] = now, found
            return known[1]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise Unavailable(f"cannot read {path}: {error}") from None
