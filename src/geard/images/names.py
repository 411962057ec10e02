"""Names of images: checked, and completed where no registry is named."""

from __future__ import annotations

import hashlib
import re

from geard.failures import Invalid

DEFAULT_REGISTRY = "docker.io"

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}")


def check_image(text: str) -> str:
    """`text`, if it can name an image (the reference grammar of the OCI distribution project). Raises Invalid."""
    if len(text) <= 512 and (_REFERENCE.fullmatch(text) or _ID.fullmatch(text)):
        return text
    raise Invalid(
        f"{text[:200]!r} cannot name an image" if text else "which image?",
        hint="[REGISTRY/]NAME[:TAG][@sha256:DIGEST], the name in small letters",
    )


def complete_name(text: str, registry: str = DEFAULT_REGISTRY) -> str:
    """The name to pull by: `nginx` is docker.io/library/nginx:latest, `a/b` docker.io/a/b:latest; with another
    default registry, R/nginx:latest.
    """
    found = _REFERENCE.fullmatch(check_image(text))
    if found is None or _ID.fullmatch(text):
        return text
    domain, path = found["domain"], found["path"]
    # A capital letter cannot stand in a path, so what has one is a registry, as docker and podman have it.
    if domain is not None and domain == domain.lower() and domain != "localhost" and not set(".:") & set(domain):
        domain, path = None, f"{domain}/{path}"
    if domain is None:
        domain = registry
        path = path if "/" in path or registry != DEFAULT_REGISTRY else f"library/{path}"
    tag = f":{found['tag']}" if found["tag"] else "" if found["digest"] else ":latest"
    return f"{domain}/{path}{tag}" + (f"@{found['digest']}" if found["digest"] else "")


def registry_of(name: str) -> str:
    """The registry in a complete name."""
    return name.partition("/")[0]


def pin(name: str, digest: str) -> str:
    """A complete name by digest: what it means can never change."""
    repository = name.partition("@")[0]
    head, colon, tag = repository.rpartition(":")
    return f"{head if colon and '/' not in tag else repository}@{digest}"


def pull_key(reference: str) -> str:
    """What stands for an image in the name of its pull unit."""
    return hashlib.sha256(reference.encode()).hexdigest()[:32]
