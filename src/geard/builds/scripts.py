"""The contract of source-to-image: which scripts there are, where each comes from, what an image says. Pure.

A script is taken from the place of `--scripts`, else from `.s2i/bin` or `.sti/bin` of the source, else from where
the image says (a label, or a variable as in 2014). `assemble` must be somewhere; any other may be missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from geard.failures import Invalid, NotFound
from geard.identifiers import check_absolute

NAMES = ("assemble", "run", "save-artifacts", "usage", "assemble-runtime")
SOURCE_FOLDERS = (".s2i/bin", ".sti/bin")
ENVIRONMENT_FILES = (".s2i/environment", ".sti/environment")
CONTAINERFILES = ("Containerfile", "Dockerfile")
LABELS = ("io.openshift.s2i.scripts-url", "io.s2i.scripts-url")
VARIABLES = ("S2I_SCRIPTS_URL", "STI_SCRIPTS_URL")
ARTIFACTS_LABEL = "io.openshift.s2i.assemble-input-files"
# Inside containers, by the contract.
SCRIPTS = "/tmp/scripts"  # noqa: S108
DEFAULT_SCRIPTS = "/tmp/defaultScripts"  # noqa: S108
SOURCE = "/tmp/src"  # noqa: S108
ARTIFACTS = "/tmp/artifacts"  # noqa: S108
RUN = "/opt/sti/bin/run"

Strategy = Literal["source", "containerfile"]
STRATEGIES: tuple[Strategy, ...] = ("source", "containerfile")
Origin = Literal["asked", "source", "image"]


@dataclass(frozen=True)
class ImageConfig:
    """What an image says of itself."""

    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    user: str = ""
    folder: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> ImageConfig:
        """Of the engine's `Config`."""
        pairs = (text.partition("=") for text in cast("list[str]", found.get("Env") or []))
        return cls(
            environment={name: value for name, _, value in pairs},
            labels=dict(cast("Mapping[str, str]", found.get("Labels") or {})),
            user=str(found.get("User") or ""),
            folder=str(found.get("WorkingDir") or "/"),
            entrypoint=tuple(found.get("Entrypoint") or ()),
            command=tuple(found.get("Cmd") or ()),
        )

    @property
    def scripts_url(self) -> str:
        """Where the image says its scripts are; empty where it does not."""
        return next(filter(None, (*map(self.labels.get, LABELS), *map(self.environment.get, VARIABLES))), "")


@dataclass(frozen=True)
class ScriptsAt:
    """A place of scripts: a folder inside the image, one of this host, or a URL below which they are."""

    way: Literal["image", "file", "http"]
    at: str


@dataclass(frozen=True)
class Script:
    name: str
    origin: Origin
    path: str
    """inside the container"""

    @property
    def inside(self) -> bool:
        """Whether it is the image's own, at its own place."""
        return not self.path.startswith(f"{SCRIPTS}/")


def parse_scripts_url(text: str) -> ScriptsAt:
    """Raises Invalid."""
    scheme, mark, path = text.partition("://")
    if not mark and text.startswith("/"):
        scheme, path = "file", text
    if scheme in ("image", "file"):
        return ScriptsAt(
            "image" if scheme == "image" else "file", check_absolute(path.rstrip("/") or "/", "to scripts")
        )
    if scheme in ("http", "https") and urlsplit(text).hostname and text.isprintable():
        return ScriptsAt("http", text.rstrip("/"))
    raise Invalid(
        f"{text[:200]!r} is no place of scripts", hint="image:///PATH, file:///PATH, http://… or https://…"
    )


def choose(places: Sequence[tuple[Origin, Collection[str], str]]) -> dict[str, Script]:
    """Each script by its name, from the first place that has it. A place is whose it is, what it has, and the
    folder inside the container in which it is found.
    """
    found: dict[str, Script] = {}
    for origin, names, folder in places:
        for name in names:
            found.setdefault(name, Script(name, origin, f"{folder}/{name}"))
    return found


def check_assemble(found: Mapping[str, Script], image: str, scripts_url: str) -> Script:
    """Raises NotFound where there is nothing that builds."""
    if "assemble" in found:
        return found["assemble"]
    said = f"the image points to {scripts_url}" if scripts_url else "the image points to none"
    raise NotFound(
        f"there is no assemble script for {image}: the source has no .s2i/bin/assemble, and {said}",
        hint="--scripts URL says where they are; or add a Containerfile to the source",
    )


def find_strategy(files: Collection[str], asked: str = "") -> Strategy:
    """How a source with these files at its top is built. Raises Invalid."""
    if asked:
        if asked not in STRATEGIES:
            raise Invalid(f"there is no strategy {asked!r}", hint="source or containerfile")
        return "source" if asked == "source" else "containerfile"
    return "containerfile" if any(name in files for name in CONTAINERFILES) else "source"


def parse_artifacts(text: str) -> list[tuple[str, str]]:
    """`PATH[:FOLDER]` of what goes over to a runtime image, joined by `;`: absolute, and relative to that image's
    working folder. Raises Invalid.
    """
    found: list[tuple[str, str]] = []
    for each in filter(None, text.split(";")):
        path, _, folder = each.partition(":")
        path = path.rstrip("/") or "/"
        parts = folder.strip("/").split("/")
        if not path.startswith("/") or {"..", "."} & {*path.split("/"), *(parts if folder != "." else ())}:
            raise Invalid(f"{each[:200]!r} names no artifact", hint="/PATH or /PATH:FOLDER, without '..'")
        if folder.startswith("/"):
            raise Invalid(f"{each[:200]!r}: the folder is one below the runtime image's working folder")
        found.append((path, folder.rstrip("/") or "."))
    return found
