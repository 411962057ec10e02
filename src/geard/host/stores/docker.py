"""Docker Engine's own store (driver overlay2; not that of containerd): `image/overlay2`, `overlay2`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from geard.failures import Unavailable
from geard.host.stores import MANIFEST_LIMIT, Kept, Layer, cannot_hand_on, diff_ids, digest_of
from geard.host.stores.tar_split import size_of

_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SIZES = 4_096


class DockerStore:
    def __init__(self, root: Path = Path("/var/lib/docker")) -> None:
        self._root = root
        self._images = root / "image/overlay2"
        self._sizes: dict[str, int] = {}

    def names(self) -> Mapping[str, str]:
        return {name: id for name, id in self._references().items() if "@" not in name}

    def digests(self) -> Mapping[str, str]:
        return {}  # it keeps no manifests

    def kept(self, id: str) -> Kept | None:
        if not _ID.fullmatch(id):
            return None
        try:
            config = (self._images / "imagedb/content/sha256" / id).read_bytes()[:MANIFEST_LIMIT]
        except FileNotFoundError:
            return None
        if digest_of(config) != f"sha256:{id}":
            raise cannot_hand_on(id, "its configuration is not what its id says")
        names = tuple(name for name, its in self.names().items() if its == id)
        return Kept(id, names, config, tuple(self._layers(id, diff_ids(config))))

    def _layers(self, id: str, diffs: list[str]) -> list[Layer]:
        """Raises Unavailable."""
        chain, found = "", list[Layer]()
        for diff in diffs:
            # https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid
            chain = digest_of(f"{chain} {diff}".encode()) if chain else diff
            folder = self._images / "layerdb" / chain.replace(":", "/")
            split = folder / "tar-split.json.gz"
            try:
                cache = (folder / "cache-id").read_text().strip()
            except (OSError, ValueError):
                cache = ""
            if not re.fullmatch("[a-z0-9-]+", cache) or not split.exists():
                raise cannot_hand_on(id, f"of its layer {diff[7:19]} the archive is not known")
            if chain not in self._sizes:
                if len(self._sizes) >= _SIZES:
                    self._sizes.clear()
                self._sizes[chain] = size_of(split)
            found.append(Layer(diff, self._sizes[chain], split, self._root / "overlay2" / cache / "diff"))
        return found

    def _references(self) -> dict[str, str]:
        """Raises Unavailable."""
        path = self._images / "repositories.json"
        try:
            found = cast("dict[str, Any]", json.loads(path.read_bytes()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise Unavailable(f"cannot read {path}: {error}") from None
        known = cast("dict[str, dict[str, str]]", found.get("Repositories") or {})
        return {
            full_name(name): str(id).removeprefix("sha256:")
            for names in known.values()
            for name, id in names.items()
        }


def full_name(name: str) -> str:
    """A name with its registry, which is left out where that is Docker's own."""
    first, slash, _ = name.partition("/")
    if slash and (set(".:") & set(first) or first == "localhost"):
        return name
    return f"docker.io/{name if slash else f'library/{name}'}"
