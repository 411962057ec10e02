"""Descriptors and instances files: where they are, read and written.

The instances file stands beside its descriptor, `app.json` -> `app.instances.json` (in the working folder for a
URL or standard input), and is itself a descriptor that can be deployed. One file with a lasting name, where the
original wrote a new one with a time in its name at each run: what is where is one fact, a file that is written
whole and renamed into place is never half, and version control keeps earlier ones better than a folder does.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from geard.deployments.descriptor import Descriptor, parse_descriptor
from geard.environments.file import check_variable, parse_lines
from geard.failures import Invalid, Unavailable
from geard.identifiers import check_id
from geard.words import builtins_of

MOST_BYTES = 4 * 1_024 * 1_024
USUAL_SECONDS = 300.0
_TIMESTAMP = re.compile(r"\.[0-9]{8}-[0-9]{6}$")
_INSTANCES = ".instances"


@dataclass(frozen=True)
class Source:
    """A descriptor that has been read."""

    descriptor: Descriptor
    """with its name, and the instances that were last written down"""
    state: Path
    """the instances file, there or not"""
    known: bool
    """whether instances were written down"""
    variables: Mapping[str, Mapping[str, str]]
    """what each container's env files say"""


def load(where: str, *, state: str = "", seconds: float = USUAL_SECONDS, insecure: bool = False) -> Source:
    """Read a descriptor from a path, a `file:` or http(s) URL, or `-`, standard input; and its instances file.

    `seconds` bounds the fetching of a URL, `insecure` leaves its certificate unchecked. Raises Invalid,
    Unavailable.
    """
    local = where.removeprefix("file://") if where.startswith("file:") else where
    if "://" in local or local.startswith("file:"):
        text, folder, base = _fetched(where, seconds, insecure=insecure), None, where.split("?")[0]
    elif local == "-":
        text, folder, base = sys.stdin.read(MOST_BYTES), Path(), "deployment"
    else:
        text, folder, base = _read(Path(local)), Path(local).parent, local
    given = parse_descriptor(text, where if where != "-" else "standard input")
    stem = _TIMESTAMP.sub("", Path(base).name)
    stem = stem.removesuffix(Path(stem).suffix if Path(stem).suffix in (".json", ".yaml", ".yml") else "")
    stem = stem.removesuffix(_INSTANCES)
    name = given.name or re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-.")
    try:
        check_id(name, "deployment")
    except Invalid as failure:
        raise Invalid(failure.message, hint=f'"Name" in the descriptor names it; {failure.hint}') from None
    path = Path(state) if state else (folder or Path()) / f"{stem}{_INSTANCES}.json"
    descriptor = msgspec.structs.replace(given, name=name)
    known = bool(given.instances)
    if path.exists():
        kept = parse_descriptor(_read(path), str(path))
        if kept.name not in ("", name):
            raise Invalid(
                f"{path} is of the deployment {kept.name}, and {where} is {name}",
                hint="--state names another instances file; or give the descriptor its old Name",
            )
        descriptor = msgspec.structs.replace(
            descriptor, instances=kept.instances, leaving=kept.leaving, unfinished=kept.unfinished
        )
        known = True
    return Source(descriptor, path, known, _variables(descriptor, folder, where))


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Invalid(f"cannot read {path}: it is not UTF-8") from None
    if len(text) > MOST_BYTES:
        raise Invalid(f"{path} is larger than {MOST_BYTES >> 20} MiB")
    return text


def _fetched(url: str, seconds: float, *, insecure: bool) -> str:
    if not url.startswith(("http://", "https://")):
        raise Invalid(f"{url!r} cannot be read", hint="a path, file:, http: or https:, or - for standard input")
    # The whole of TLS and of http.client, for those alone who deploy from a URL.
    import ssl  # noqa: PLC0415
    import urllib.error  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    context = ssl.create_default_context()
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    asked = urllib.request.Request(url, headers={"Accept": "application/json, application/yaml, */*;q=0.5"})
    try:
        with urllib.request.urlopen(asked, timeout=seconds, context=context) as answer:
            body: bytes = answer.read(MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise Unavailable(f"cannot fetch {url}: it answers {error.code}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Unavailable(f"cannot fetch {url}: {reason}") from None
    if len(body) > MOST_BYTES:
        raise Invalid(f"{url} is larger than {MOST_BYTES >> 20} MiB")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Invalid(f"what is at {url} is not UTF-8") from None


def _variables(descriptor: Descriptor, folder: Path | None, where: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for container in descriptor.containers:
        if container.env_files and folder is None:
            raise Invalid(f"{where}: {container.name} has EnvFiles, and there is no folder of files beside a URL")
        for name in container.env_files:
            values = parse_lines(_read((folder or Path()) / name))
            for key, value in values.items():
                check_variable(key, value)
            found.setdefault(container.name, {}).update(values)
    return found


def render_instances(descriptor: Descriptor) -> str:
    """The instances file: the original's keys in the original's order, two blanks, a newline at the end."""
    values = builtins_of(descriptor)
    ordered = {key: values.get(key, []) for key in ("Containers", "Instances")}
    ordered |= {"IdPrefix": descriptor.id_prefix, "RandomizeIds": descriptor.randomize_ids}
    return json.dumps(ordered | values, indent=2, ensure_ascii=False) + "\n"


def save(path: Path, descriptor: Descriptor) -> None:
    """Put the instances file in place, whole; its owner's alone, for the variables in it. Raises Unavailable."""
    text = render_instances(descriptor)
    try:
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)
            raise
    except OSError as error:
        raise Unavailable(
            f"cannot write the instances file {path}: {error.strerror}", hint="--state FILE puts it elsewhere"
        ) from None


def remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
