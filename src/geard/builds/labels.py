"""What an image says of the build it came from. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from geard.builds import records
from geard.builds.requests import Build, BuildImage
from geard.builds.sources import parse_source
from geard.images.names import complete_name

LABEL = "io.openshift.s2i.build"
OCI = "org.opencontainers.image"
BASE = f"{LABEL}.image"


def labels(wish: BuildImage, build: Build, registry: str) -> dict[str, str]:
    """`registry` is where names of images without one lead."""
    source = parse_source(wish.source, wish.ref)
    base = complete_name(wish.base_image, registry) if wish.base_image else ""
    found = {
        BASE: wish.base_image,
        f"{LABEL}.source-location": str(source),
        f"{LABEL}.commit.id": build.commit,
        f"{LABEL}.commit.ref": source.ref,
        f"{OCI}.created": records.now(),
        f"{OCI}.source": source.at if source.kind == "git" else "",
        f"{OCI}.revision": build.commit,
        f"{OCI}.base.name": base,
        f"{OCI}.base.digest": build.base_digest,
    }
    return {name: value for name, value in found.items() if value}


def label_words(found: Mapping[str, str]) -> list[str]:
    """As a Containerfile has them."""
    return [f"LABEL {name}={_quoted(value)}" for name, value in found.items()]


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
