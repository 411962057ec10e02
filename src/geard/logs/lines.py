"""The text of a line. Programs write what they like; what would act on a terminal is shown instead. Pure."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, tzinfo
from functools import lru_cache

_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
# C0 and C1 controls but for tab and newline, line separators, what turns the direction of writing, and lone
# surrogates. Other formatting characters are left alone: emoji and Indic scripts are made with them.
_ACTIVE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


_CREATED = re.compile(r"^X-ContainerCreated=(\S+)$", re.MULTILINE)


def created(unit: str) -> int:
    """When the gear of this unit file was first installed, in microseconds since 1970; 0 where it says nothing."""
    found = _CREATED.search(unit)
    return int(datetime.fromisoformat(found[1]).timestamp() * 1e6) if found else 0


def calm(message: str) -> str:
    """`message` without colours, and with other control characters spelt out; tabs and newlines stay."""
    return _ACTIVE.sub(_spelt, _COLOURS.sub("", message.replace("\r\n", "\n").rstrip("\r\n")))


def _spelt(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def render_line(time: str, identifier: str, pid: int, message: str) -> str:
    """`TIME PROGRAM[PID]: MESSAGE`; further lines of the message stand below its beginning."""
    who = calm(identifier) + (f"[{pid}]" if pid else "")
    start = f"{time} {who}: " if who else f"{time} "
    return start + calm(message).replace("\n", "\n" + " " * len(start))


@lru_cache(64)  # all followers of a line ask for the same one
def render_time(microseconds: int) -> str:
    """RFC 3339 with microseconds, UTC."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06}+00:00"


def local_time(time: str, zone: tzinfo | None = None) -> str:
    """An RFC 3339 time as people read it: in `zone` (else the one they are in), with milliseconds."""
    return datetime.fromisoformat(time).astimezone(zone).isoformat(timespec="milliseconds")


def json_line(values: object, *, for_terminal: bool) -> str:
    """One line of JSON; `for_terminal`, what is active there is written as JSON's own escapes."""
    text = json.dumps(values, ensure_ascii=False)
    # JSON allows DEL and C1 controls as they are; a terminal may take U+009B for the beginning of a command
    return _ACTIVE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) if for_terminal else text
