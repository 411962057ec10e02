"""Which registries images come from."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import ClassVar

from geard.failures import Denied, Invalid
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

    def check(self) -> None:
        for name in (
            self.default,
            *self.mirrors,
            *self.insecure,
            *(m for some in self.mirrors.values() for m in some),
        ):
            if not _REGISTRY.fullmatch(name):
                raise Invalid(f"{name!r} is no registry", hint="a host name, with :PORT if need be")


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
