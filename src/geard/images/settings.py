"""Which registries images come from, and how long they stay."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import ClassVar

from geard.failures import Denied, Invalid
from geard.identifiers import parse_place
from geard.images.names import DEFAULT_REGISTRY, registry_of
from geard.settings import Section

_REGISTRY = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9._/-]+)?", re.ASCII)


class RegistrySettings(Section):
    key: ClassVar[str] = "registries"
    default: str = DEFAULT_REGISTRY
    """completes names without a registry"""
    mirrors: dict[str, tuple[str, ...]] = {}
    """registry -> what is tried before it, in order: `"docker.io" = ["mirror.example:5000"]`"""
    insecure: tuple[str, ...] = ()
    """spoken to without TLS, or whoever they say they are"""
    allow: tuple[str, ...] = ()
    """patterns of complete names that may be pulled (`docker.io/acme/*`); none: all"""
    stall: int = 300
    """seconds in which nothing comes, after which a pull is given up, and the next place tried"""

    def check(self) -> None:
        if not 1 <= self.stall <= 86_400:
            raise Invalid(f"stall = {self.stall} is no time to wait", hint="1 to 86400 seconds")
        for name in (
            self.default,
            *self.mirrors,
            *self.insecure,
            *(m for some in self.mirrors.values() for m in some),
        ):
            if not _REGISTRY.fullmatch(name):
                raise Invalid(f"{name!r} is no registry", hint="a host name, with :PORT if need be")


class ImageSettings(Section):
    key: ClassVar[str] = "images"
    keep_days: int = 14
    """how long an image stays that nothing needs, when `gear prune` or the agent looks"""
    prune: bool = False
    """the agent removes such images by itself, looking every hour"""
    keep: tuple[str, ...] = ()
    """patterns of names (`docker.io/acme/*`) that are never removed so"""
    peers: tuple[str, ...] = ()
    """machines that `gear host add` made known, asked for an image before its registry"""

    def check(self) -> None:
        if not 0 <= self.keep_days <= 36_500:
            raise Invalid(f"keep-days = {self.keep_days} is no number of days", hint="0 to 36500")
        for peer in self.peers:
            if str(parse_place(peer)) != peer or ":" in peer or "/" in peer:
                raise Invalid(f"peers: {peer!r} names no machine", hint="as gear host list has it")


def permitted(settings: RegistrySettings, name: str) -> None:
    """Raises Denied where the admin lets images of that complete name not be pulled."""
    if settings.allow and not any(fnmatchcase(name, pattern) for pattern in settings.allow):
        raise Denied(
            f"{name} is not among the images that may be pulled here",
            hint="[registries] allow in /etc/geard/geard.toml says which may",
        )


def sources(settings: RegistrySettings, name: str) -> list[str]:
    """Where to try a complete name: its registry's mirrors, then itself."""
    path = name.partition("/")[2]
    return [*(f"{mirror.rstrip('/')}/{path}" for mirror in settings.mirrors.get(registry_of(name), ())), name]
