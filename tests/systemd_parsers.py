"""systemd's two parsers as its manual pages describe them: EnvironmentFile= and the words of a command line.

Written from systemd.exec(5) (EnvironmentFile=) and systemd.service(5) (COMMAND LINES), not from geard's quoting.
"""

from __future__ import annotations

import re


def environment_file(text: str) -> dict[str, str]:
    """NAME=VALUE lines; in "…" a backslash stands before " \\ ` $, in '…' nothing is special, newlines stay."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        if text[at] in " \t\n\r":
            at += 1
            continue
        if text[at] in "#;":
            at = _end_of_line(text, at)
            continue
        equals = text.find("=", at)
        assert equals >= 0, "a line without '='"
        name, at = text[at:equals], equals + 1
        value: list[str] = []
        while at < len(text) and text[at] != "\n":
            char = text[at]
            if char == '"':
                at += 1
                while text[at] != '"':
                    if text[at] == "\\" and text[at + 1] in '"\\`$':
                        at += 1
                    elif text[at] == "\\" and text[at + 1] == "\n":
                        at += 2
                        continue
                    value.append(text[at])
                    at += 1
            elif char == "'":
                end = text.index("'", at + 1)
                value.append(text[at + 1 : end])
                at = end
            else:
                assert char != "\\", "outside quotes a backslash escapes"
                value.append(char)
            at += 1
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name, re.ASCII):  # it passes over others (seen with 257)
            found[name] = "".join(value)
    return found


def _end_of_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def split_variable(value: str) -> list[str]:
    """`$NAME` as a word of its own on a command line: split at whitespace, quotes removed, and what follows a
    backslash taken as it is.
    """
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    at = 0
    while at < len(value):
        char = value[at]
        if char == "\\":
            at += 1
            assert at < len(value), "a backslash at the end"
            word = [*(word or []), value[at]]
        elif quote:
            if char == quote:
                quote = ""
            else:
                word = [*(word or []), char]
        elif char in "\"'":
            quote, word = char, word or []
        elif char in " \t\n\r":
            if word is not None:
                words.append("".join(word))
            word = None
        else:
            word = [*(word or []), char]
        at += 1
    assert not quote, "an open quote"
    return words if word is None else [*words, "".join(word)]
