"""Times as people write them. What is now is given; so is the time zone, unless it is this machine's."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from geard.failures import Invalid

_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_STEP = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*(s|sec|m|min|h|d|w)(?![a-z])", re.ASCII)
_SPAN = re.compile(rf"-?\s*((?:{_STEP.pattern}\s*)+)(?:ago)?", re.ASCII)
_CLOCK = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?"
# A plus sign in a query string that nobody escaped arrives as a space.
_ZONE = r"Z|z|[+ -][0-9]{2}:?[0-9]{2}"
_MOMENT = re.compile(
    rf"(?:(?P<day>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|today|yesterday)(?:[Tt](?=[0-9])|\s+|$))?"
    rf"(?:(?P<clock>{_CLOCK})(?P<zone>{_ZONE})?)?",
    re.ASCII,
)
_HINT = "2026-11-23 19:43, 19:43, today, yesterday, RFC 3339, or how long ago: 10m, 2h, 1d"


def parse_duration(text: str) -> timedelta:
    """`90`, `90s`, `10m`, `1h30m`. Raises Invalid."""
    stripped = text.strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", stripped, re.ASCII):
        return timedelta(seconds=float(stripped))
    if stripped.startswith("-") or not is_span(stripped):
        raise Invalid(
            f"{text!r} is no length of time", hint="seconds, or a number and s, m, h, d or w: 90, 10m, 1h30m"
        )
    return _length(stripped, text)


def is_span(text: str) -> bool:
    """Whether a time is told by how long ago it was: such a time is each host's own."""
    return _SPAN.fullmatch(text.strip()) is not None


def parse_moment(text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """When that is; what names no time zone is in `zone`. Raises Invalid."""
    stripped = text.strip()
    if stripped == "now":
        return now
    try:
        if is_span(stripped):
            return now - _length(stripped, text)
        if re.fullmatch(r"@[0-9]{1,11}(\.[0-9]{1,6})?", stripped, re.ASCII):
            return datetime.fromtimestamp(0, UTC) + timedelta(seconds=float(stripped[1:]))
        found = _MOMENT.fullmatch(stripped)
        if found is not None and stripped:
            return _moment(found, now.astimezone(zone), zone)
    except (ValueError, OverflowError):
        pass
    raise Invalid(f"{text!r} is no time", hint=_HINT)


def spelt_for_hosts(text: str, now: datetime, zone: tzinfo | None = None) -> str:
    """`text` so that it means the same on every host: a clock time with its zone, a span as it is.

    Raises Invalid.
    """
    if not text:
        return ""
    moment = parse_moment(text, now, zone)
    if is_span(text) or text.strip() == "now":
        return text.strip()
    return moment.astimezone(UTC).isoformat()


def microseconds(moment: datetime) -> int:
    """Since 1970, as the journal counts; not before."""
    return max(0, (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1))


def _length(span: str, text: str) -> timedelta:
    try:
        return timedelta(seconds=sum(float(count) * _SECONDS[unit] for count, unit in _STEP.findall(span)))
    except OverflowError:
        raise Invalid(f"{text!r} is too long a time", hint="1d is a day, 4w are four weeks") from None


def _moment(found: re.Match[str], now: datetime, zone: tzinfo | None) -> datetime:
    day, clock, offset = found["day"], found["clock"] or "00:00", found["zone"]
    if day in (None, "today", "yesterday"):
        day = (now.date() - timedelta(days=1 if day == "yesterday" else 0)).isoformat()
    clock = clock if clock[1] != ":" else f"0{clock}"
    moment = datetime.fromisoformat(f"{day}T{clock}")
    if offset:
        offset = "+00:00" if offset in "Zz" else offset.replace(" ", "+")
        return datetime.fromisoformat(f"{moment.isoformat()}{offset}")
    # not simply the offset of `now`: that day may have had another
    return moment.astimezone() if zone is None else moment.replace(tzinfo=zone)
