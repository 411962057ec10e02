"""This host's images for others to pull: the reading half of the OCI distribution API, out of the engine's store.

    /v2/NAME/manifests/TAG|DIGEST   /v2/NAME/blobs/DIGEST   /v2/NAME/tags/list   /v2/NAME/referrers/DIGEST
    /v2/_catalog

NAME is an image's whole name (`docker.io/library/nginx`), or one that [registries] default completes, as a mirror
is asked; or `by-id/ID`, which stands for one image for ever. Layers are as the store has them, uncompressed. The
specification: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlencode

from geard.dispatch.plain import Ask, Plain
from geard.failures import Denied, Failure, Full, Invalid, TooMany, Unauthenticated, Unavailable
from geard.host import Host
from geard.host.stores import OCI, Layer, Store, digest_of, media_type, parse_manifest, part
from geard.host.stores.tar_split import read_layer
from geard.images.names import complete_name
from geard.images.settings import RegistrySettings
from geard.request import Scope

PREFIX = "/v2/"
RUNS_PROGRAMS = False
SCOPE: Scope = "pull"
BY_ID = "by-id/"
_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_ROUTE = re.compile(
    r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags|referrers|uploads)/(?P<last>[^/]*)", re.DOTALL
)
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})", re.ASCII)


class _NoError(Exception):
    """An answer that is an error of the specification's."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def error(status: int, code: str, message: str, further: Mapping[str, str] | None = None) -> Plain:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Plain(status, {**_VERSION, "Content-Type": "application/json", **(further or {})}, body)


def refusal(failure: Failure, status: int) -> Plain:
    """What geard says no with, in words that registries' clients know."""
    codes: dict[type[Failure], str] = {
        Unauthenticated: "UNAUTHORIZED",
        Denied: "DENIED",
        TooMany: "TOOMANYREQUESTS",
        Full: "TOOMANYREQUESTS",
        Invalid: "UNSUPPORTED",
    }
    code = next((word for kind, word in codes.items() if isinstance(failure, kind)), "UNKNOWN")
    # Clients show a user and a token only when they are asked so.
    asked = {"WWW-Authenticate": 'Basic realm="geard"'} if isinstance(failure, Unauthenticated) else {}
    return error(status, code, failure.message, asked)


async def answer(host: Host, ask: Ask) -> Plain:
    """Raises Denied; for what was asked, nothing."""
    ask.check_scope(SCOPE)
    if ask.asker.only:
        raise Denied(f"{ask.asker.name} may not ask for {ask.path[:300]}", hint="it concerns the whole machine")
    try:
        return await asyncio.to_thread(
            _answer, host.engine.store, host.settings.section(RegistrySettings).default, ask
        )
    except _NoError as no:
        return error(no.status, no.code, no.message)
    except Unavailable as failure:
        return error(503, "UNAVAILABLE", failure.message)


def _answer(store: Store, registry: str, ask: Ask) -> Plain:
    if ask.method not in ("GET", "HEAD"):
        raise _NoError(405, "UNSUPPORTED", f"{ask.method}: nothing can be pushed here; gear load, gear pull")
    path = re.sub("%3[aA]", ":", ask.path)
    if path == PREFIX:
        return Plain(200, {**_VERSION, "Content-Type": "application/json"}, b"{}")
    if path == f"{PREFIX}_catalog":
        return _catalog(store, ask)
    found = _ROUTE.fullmatch(path)
    if found is None:
        raise _NoError(404, "NAME_UNKNOWN", "there is nothing of that kind here")
    name, kind, last = found["name"], found["kind"], found["last"]
    if not _NAME.fullmatch(name) or len(name) > 255:
        raise _NoError(400, "NAME_INVALID", "that is no name of a repository")
    if kind == "tags" and last == "list":
        return _tags(store, registry, name, ask)
    if kind == "manifests":
        return _manifest(store, registry, name, last)
    if kind == "blobs":
        return _blob(store, registry, name, last, ask)
    if kind == "referrers":
        return _referrers(store, registry, name, last, ask)
    raise _NoError(404, "NAME_UNKNOWN", "there is nothing of that kind here")


def _repository(registry: str, name: str) -> str:
    """The whole name, without a tag."""
    return complete_name(name, registry).rpartition(":")[0]


def _tagged(store: Store, registry: str, name: str) -> dict[str, str]:
    """tag -> image id. Raises _NoError where there is no such repository."""
    if name.startswith(BY_ID):
        id = name.removeprefix(BY_ID)
        if store.kept(id) is None:
            raise _NoError(404, "NAME_UNKNOWN", f"the image {id[:12]} is not here")
        return {"latest": id}
    whole = f"{_repository(registry, name)}:"
    found = {full.removeprefix(whole): id for full, id in store.names().items() if full.startswith(whole)}
    if not found:
        raise _NoError(404, "NAME_UNKNOWN", f"no image {name} is here")
    return found


def _manifest(store: Store, registry: str, name: str, reference: str) -> Plain:
    tagged = _tagged(store, registry, name)
    if ":" in reference:
        if not _DIGEST.fullmatch(reference):
            raise _NoError(400, "DIGEST_INVALID", "sha256:, and 64 hexadecimal digits")
        every = (kept for id in dict.fromkeys(tagged.values()) if (kept := store.kept(id)) is not None)
        raw = next((kept.manifest for kept in every if digest_of(kept.manifest) == reference), None)
    else:
        if not _TAG.fullmatch(reference):
            raise _NoError(400, "TAG_INVALID", "that is no tag")
        kept = store.kept(tagged[reference]) if reference in tagged else None
        raw = kept.manifest if kept is not None else None
    if raw is None:
        raise _NoError(404, "MANIFEST_UNKNOWN", f"{name} has no {reference} here")
    digest = digest_of(raw)
    return Plain(
        200,
        {**_VERSION, "Content-Type": media_type(raw), "Docker-Content-Digest": digest, "ETag": f'"{digest}"'},
        raw,
    )


def _referrers(store: Store, registry: str, name: str, digest: str, ask: Ask) -> Plain:
    """What is said of a manifest by others of that name. Never 404: clients would take that for a registry that
    does not know the question.
    """
    if not _DIGEST.fullmatch(digest):
        raise _NoError(400, "DIGEST_INVALID", "sha256:, and 64 hexadecimal digits")
    kind = ask.query.get("artifactType", "")
    manifests = [each for each in _of_subject(store, registry, name, digest) if kind in ("", each["artifactType"])]
    index = f"{OCI}index.v1+json"
    body = json.dumps({"schemaVersion": 2, "mediaType": index, "manifests": manifests}).encode()
    applied = {"OCI-Filters-Applied": "artifactType"} if kind else {}
    return Plain(200, {**_VERSION, "Content-Type": index, **applied}, body)


def _of_subject(store: Store, registry: str, name: str, digest: str) -> Iterator[dict[str, Any]]:
    """Descriptors of those that can be had here, as they are handed out."""
    try:
        ids = dict.fromkeys(_tagged(store, registry, name).values())
    except _NoError:
        return
    for id in ids:
        with suppress(Unavailable):  # one image that cannot be handed on hides none of the others
            raw = kept.manifest if (kept := store.kept(id)) is not None else b"{}"
            found = parse_manifest(raw.decode(errors="replace"))
            if part(found.get("subject")).get("digest") == digest:
                yield {
                    "mediaType": media_type(raw),
                    "size": len(raw),
                    "digest": digest_of(raw),
                    "artifactType": found.get("artifactType") or part(found.get("config")).get("mediaType", ""),
                    "annotations": part(found.get("annotations")),
                }


def _blob(store: Store, registry: str, name: str, digest: str, ask: Ask) -> Plain:
    """Of an image that bears that name: what cannot be named cannot be had."""
    if not _DIGEST.fullmatch(digest):
        raise _NoError(400, "DIGEST_INVALID", "sha256:, and 64 hexadecimal digits")
    for id in dict.fromkeys(_tagged(store, registry, name).values()):
        kept = store.kept(id)
        if kept is None:
            continue
        if digest == f"sha256:{id}":
            return _part(ask, digest, len(kept.config), config=kept.config)
        for layer in kept.layers:
            if layer.digest == digest:
                return _part(ask, digest, layer.size, layer=layer)
    raise _NoError(404, "BLOB_UNKNOWN", f"no image {name} here has {digest}")


def _part(ask: Ask, digest: str, size: int, *, config: bytes = b"", layer: Layer | None = None) -> Plain:
    """All of a blob, or the one range that the Range header asks for (RFC 9110, 14.2); what is none is ignored."""
    start, end, status = 0, size, 200
    headers = {
        **_VERSION,
        "Content-Type": "application/octet-stream",
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
        "Accept-Ranges": "bytes",
    }
    if ask.method == "GET" and (asked := _RANGE.fullmatch(ask.range)):
        start = int(asked[1])
        end = min(size, int(asked[2]) + 1) if asked[2] else size
        if asked[2] and int(asked[2]) < start:
            start, end = 0, size
        elif start >= size:
            return error(416, "RANGE_INVALID", f"it has {size} bytes", {"Content-Range": f"bytes */{size}"})
        else:
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    if layer is None:
        return Plain(status, headers, config[start:end])
    return Plain(
        status, headers, pieces=partial(read_layer, layer.split, layer.root, start, end), length=end - start
    )


def _tags(store: Store, registry: str, name: str, ask: Ask) -> Plain:
    tags, link = _page(sorted(_tagged(store, registry, name)), ask, f"{PREFIX}{name}/tags/list")
    return _json({"name": name, "tags": tags}, link)


def _catalog(store: Store, ask: Ask) -> Plain:
    whole = {name.rpartition(":")[0] for name in store.names()}
    names, link = _page(sorted(filter(_NAME.fullmatch, whole)), ask, f"{PREFIX}_catalog")
    return _json({"repositories": names}, link)


def _page(every: list[str], ask: Ask, path: str) -> tuple[list[str], str]:
    """So many of them, behind the last that was given; and where the rest is. Raises _NoError."""
    count, last = ask.query.get("n", ""), ask.query.get("last", "")
    if count and not (count.isascii() and count.isdigit() and len(count) < 10):
        raise _NoError(400, "PAGINATION_NUMBER_INVALID", f"n={count[:20]} is no number")
    left = [each for each in every if each > last] if last else every
    if not count:
        return left, ""
    shown = left[: int(count)]
    more = len(left) > len(shown) and shown
    return shown, f'<{path}?{urlencode({"n": count, "last": shown[-1]})}>; rel="next"' if more else ""


def _json(value: object, link: str) -> Plain:
    further = {"Link": link} if link else {}
    return Plain(200, {**_VERSION, "Content-Type": "application/json", **further}, json.dumps(value).encode())
