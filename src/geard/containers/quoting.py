r"""Words on their way through systemd's two parsers.

A definition is an EnvironmentFile= with GEAR_RUN="…", and the unit splits $GEAR_RUN into words. First the file's
reader removes a backslash before " \ ` $ inside double quotes and takes all else literally, newlines too; then
the splitting removes quotes and takes what follows a backslash literally (systemd.exec(5), systemd.service(5)).
What cannot pass is refused: podman keeps a command as JSON, so it must be UTF-8, and systemd refuses a whole file
with a Unicode noncharacter in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from geard.environments.file import NEVER, escape
from geard.failures import Invalid

# The kernel takes no single string of the environment longer than 128 KiB (execve(2), MAX_ARG_STRLEN).
LIMIT = 131_000

_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@+-]+", re.ASCII)
_IN_WORD = re.compile(r'["\\]')


def check_text(text: str, what: str) -> None:
    """Raises Invalid for text that could not arrive unchanged."""
    if NEVER.search(text):
        raise Invalid(
            f"{what} cannot be carried", hint="text in UTF-8, without NUL and without Unicode noncharacters"
        )


def quote_word(word: str) -> str:
    """One word as it must stand inside GEAR_RUN="…"; plain ones stay readable."""
    if _PLAIN.fullmatch(word):
        return word
    return escape('"' + _IN_WORD.sub(r"\\\g<0>", word) + '"')


def render_words(name: str, words: Iterable[str]) -> str:
    """The line NAME="word word …". Raises Invalid where it is longer than the kernel takes."""
    text = " ".join(map(quote_word, words))
    if len(text.encode()) > LIMIT:
        raise Invalid(
            f"command, labels and mounts together take more than {LIMIT} bytes",
            hint="put long text into a file or volume",
        )
    return f'{name}="{text}"\n'
