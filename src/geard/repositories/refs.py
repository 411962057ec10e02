"""What may name a branch, a tag or a commit (git-check-ref-format(1)), and archives of them. Pure."""

from __future__ import annotations

import re

REF_LIMIT = 1_000
TYPES = {"zip": "application/zip", "tar": "application/x-tar", "tar.gz": "application/gzip"}
_NEVER = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/]|/$|\.$")


def is_ref(text: str) -> bool:
    """Whether it may; what else git understands (`master:folder`, `:/text`, options) is nobody's to ask."""
    return bool(text) and len(text) <= REF_LIMIT and not _NEVER.search(text)


def file_name(id: str, ref: str, format: str) -> str:
    """`shop-feature-x.zip`: letters that any file system takes."""
    return f"{id}-{re.sub(r'[^A-Za-z0-9_.-]', '-', ref)[:100]}.{format}"
