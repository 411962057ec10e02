"""Where source comes from: the forms of SOURCE, told apart by their letters alone. Pure.

/srv/app  file:///srv/app                     a folder or an archive of this host
https://example.com/app.tar.gz                an archive elsewhere: .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz
https://… http://… git://… ssh://…  user@host:path   a git repository, with #REF:FOLDER behind it
repo://NAME                                   a repository hosted here
sent://ID                                     an archive that was sent here for this build
-                                             an archive on standard input (`gear build` alone)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from geard.failures import Invalid
from geard.identifiers import check_absolute, check_id

Kind = Literal["local", "archive", "git", "hosted", "sent", "input"]

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
SCHEMES = ("file", "git", "http", "https", "ssh", "repo", "sent")
LIMIT = 2_000

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_TRANSPORT = re.compile(r"[A-Za-z0-9+.-]+::")
_SCP = re.compile(
    r"(?:([A-Za-z0-9_][A-Za-z0-9_.-]*)@)?([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\]):([^/:-][^:]*|/[^:]*)"
)
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@=-]*")
_HINT = (
    "a folder, file://, http://, https://, git://, ssh://, user@host:path, repo://NAME, a .tar or .tar.gz, or -"
)


_NAMED = {"hosted": "repo", "sent": "sent"}


@dataclass(frozen=True)
class Source:
    kind: Kind
    at: str
    """a path, a URL, or a name"""
    ref: str = ""
    folder: str = ""
    """the part of it that is built; empty for all"""

    def __str__(self) -> str:
        behind = self.ref + (f":{self.folder}" if self.folder else "")
        shown = f"{_NAMED[self.kind]}://{self.at}" if self.kind in _NAMED else self.at
        return shown + (f"#{behind}" if behind else "")


def parse_source(text: str, ref: str = "") -> Source:
    """`ref` is what `--ref` says beside it. Raises Invalid."""
    if not text:
        raise Invalid("which source?", hint=_HINT)
    if text == "-":
        return _without_ref(Source("input", "-"), ref)
    if len(text) > LIMIT or not text.isprintable() or text.startswith("-") or text != text.strip():
        raise _wrong(text, "it begins with '-', is too long, or has characters that cannot be printed")
    if _TRANSPORT.match(text):
        raise _wrong(text, "transports such as ext:: run programs of the asker's choice")
    scheme = _SCHEME.match(text)
    if scheme is not None:
        return _of_url(text, scheme[1].lower(), ref)
    if (scp := _SCP.fullmatch(text.partition("#")[0])) is not None and not text.startswith((".", "/")):
        where, wanted, folder = _split(text, ref)
        if scp[1] or where.endswith(".git"):
            return Source("git", where, wanted, folder)
    return _of_path(text, ref)


def check_ref(ref: str) -> str:
    """`ref`, if it may name a branch, a tag or a commit (git-check-ref-format(1)). Raises Invalid."""
    wrong = ("..", "//", "@{", "/.", ".lock/")
    if (
        not _REF.fullmatch(ref)
        or len(ref) > 250
        or any(w in ref for w in wrong)
        or ref.endswith(("/", ".", ".lock"))
    ):
        raise Invalid(f"{ref[:80]!r} names no branch, tag or commit")
    return ref


def check_folder(folder: str) -> str:
    """`folder`, if it is one inside a source. Raises Invalid."""
    parts = folder.strip("/").split("/")
    if folder.startswith("/") or not folder.isprintable() or not {"", ".", ".."}.isdisjoint(parts):
        raise Invalid(f"{folder[:80]!r} is no folder inside a source", hint="relative, without '..'")
    return folder.strip("/")


def is_archive(path: str) -> bool:
    return path.lower().endswith(ARCHIVES)


def _of_url(text: str, scheme: str, ref: str) -> Source:
    if scheme not in SCHEMES:
        raise _wrong(text, f"{scheme}:// is no way that sources are fetched by")
    where, wanted, folder = _split(text, ref)
    if scheme == "repo":
        return Source("hosted", check_id(where.partition("://")[2], "repository"), wanted, folder)
    if scheme == "sent":
        if wanted:
            raise _wrong(text, "an archive has no branches: no ref goes with it")
        return Source("sent", check_id(where.partition("://")[2], "source"), "", folder)
    if scheme == "file":
        path = where.partition("://")[2]
        return _of_path(path + (text[len(where) :]), ref)
    parts = urlsplit(where)
    host = parts.hostname or ""
    if not host or host.startswith("-") or "\\" in where or " " in where:
        raise _wrong(text, "it names no host")
    if (parts.username or "").startswith("-") or parts.password is not None:
        raise _wrong(text, "a password in it would stand in logs and in the image")
    if is_archive(parts.path) and scheme in ("http", "https"):
        if wanted:
            raise _wrong(text, "an archive has no branches: no ref goes with it")
        return Source("archive", where, "", folder)
    return Source("git", where, wanted, folder)


def _of_path(text: str, ref: str) -> Source:
    path, wanted, folder = _split(text, ref)
    path = path.rstrip("/") or "/"
    if not path.startswith("/"):
        raise _wrong(text, "a path begins with '/'")
    check_absolute(path, "of this host")
    if wanted or path.endswith(".git"):
        return Source("git", path, wanted, folder)
    return Source("local", path, "", folder)


def _split(text: str, ref: str) -> tuple[str, str, str]:
    """What stands before a '#', and REF and FOLDER behind it."""
    where, _, behind = text.partition("#")
    own, _, folder = behind.partition(":")
    if own and ref and own != ref:
        raise Invalid(f"two refs: {own} in the source and {ref} beside it")
    wanted = own or ref
    return where, check_ref(wanted) if wanted else "", check_folder(folder) if folder else ""


def _without_ref(source: Source, ref: str) -> Source:
    if ref:
        raise Invalid("an archive has no branches: no ref goes with it")
    return source


def _wrong(text: str, why: str) -> Invalid:
    shown = re.sub(r"//[^/@]*@", "//", text[:200])
    return Invalid(f"{shown!r} is no source: {why}", hint=_HINT)
