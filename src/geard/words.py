"""Values that can be written down: frozen, named fields, PascalCase in JSON as the original wrote them.

Requests, answers and what stands on disk are made of words. Reading is lenient in one thing (the case of keys)
and strict in all else: an unknown key is refused with its place and the nearest known name.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, ClassVar, TypeVar, cast

import msgspec

from geard.failures import Invalid


@typing.dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class _WordMeta(msgspec.StructMeta):
    """Every word is keyword-only: msgspec does not inherit that option, and sixty classes would repeat it."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        new: Any = super().__new__
        return new(mcls, name, bases, namespace, **{"kw_only": True, **options})


class Word(msgspec.Struct, metaclass=_WordMeta, frozen=True, rename="pascal"):
    """Base of everything that is written down or crosses a line."""


class Part(Word):
    """What one room adds to a gear: one key in the install request's body and in the definition on disk.

    A room declares it in `requests.py` with a field `value`, which is what stands behind `key` in JSON.
    `containers` carries parts in a field `parts: tuple[Part, ...]` and knows none by name.
    """

    key: ClassVar[str]

    def names(self) -> Iterable[str]:
        """The ids of other things than the gear that it speaks of: an environment, secrets."""
        return ()


W = TypeVar("W", bound=Word)
P = TypeVar("P", bound=Part)


def part_of(kind: type[P] | None, parts: tuple[Part, ...]) -> P | None:
    if kind is None:
        return None
    return next((part for part in parts if isinstance(part, kind)), None)


def names_in_parts(word: Word) -> tuple[str, ...]:
    parts: tuple[Part, ...] = getattr(word, "parts", ())
    return tuple(name for part in parts for name in part.names())


def encode(word: Word) -> bytes:
    """JSON."""
    return msgspec.json.encode(builtins_of(word))


def builtins_of(word: Word) -> Any:
    """`word` as JSON's own values, parts standing beside its other keys."""
    values = msgspec.to_builtins(word)
    parts = getattr(word, "parts", None)
    if parts is not None:
        del values["Parts"]
        values |= {part.key: msgspec.to_builtins(part.value) for part in parts}
    return values


def decode(kind: type[W], text: bytes | str) -> W:
    """Read JSON. Raises Invalid with the place of what is wrong."""
    try:
        value: object = msgspec.json.decode(text) if text else {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"the body is not JSON: {error}") from None
    return read(kind, value)


def read(kind: type[W], value: object, *, strict: bool = True) -> W:
    """A word from JSON's own values; not `strict`, numbers and truth may come as text (a query string).

    Raises Invalid.
    """
    if not isinstance(value, Mapping):
        raise Invalid(f"expected an object, not {type(value).__name__}")
    own, parts = dict(cast(Mapping[str, Any], value)), list[Part]()
    if "parts" in kind.__struct_fields__:
        kinds = _part_kinds()
        for key in [key for key in own if key.lower() in kinds]:
            part = kinds[key.lower()]
            if any(isinstance(other, part) for other in parts):
                raise Invalid(f"$.{part.key} is given twice")
            given = own.pop(key)
            if given is not None:
                parts.append(_convert(part, {"Value": given}, strict, part.key))
    word = _convert(kind, own, strict, "")
    return msgspec.structs.replace(word, parts=tuple(parts)) if parts else word


def _convert(kind: type[W], value: Mapping[str, Any], strict: bool, place: str) -> W:
    try:
        return msgspec.convert(_spelt(value, kind, "$"), kind, strict=strict)
    except msgspec.ValidationError as error:
        text, hint = str(error), ""
    except Invalid as error:
        text, hint = error.message, error.hint
    raise Invalid(text.replace("$.Value", f"$.{place}") if place else text, hint=hint)


def _part_kinds() -> dict[str, type[Part]]:
    return {kind.key.lower(): kind for kind in Part.__subclasses__()}


@cache
def _spelling(kind: type[Word]) -> dict[str, tuple[str, Any, bool]]:
    """lower-case key -> the key as it is written, the type behind it, whether it must be there; `parts` stand
    beside the other keys
    """
    fields = msgspec.structs.fields(kind)
    return {f.encode_name.lower(): (f.encode_name, f.type, f.required) for f in fields if f.name != "parts"}


def _spelt(value: object, kind: Any, place: str) -> object:
    """`value` with every key spelt as `kind` writes it. Raises Invalid for a key that `kind` does not have."""
    inner, rows = _inside(kind)
    if isinstance(value, list) and rows:
        return [_spelt(item, inner, f"{place}[{n}]") for n, item in enumerate(cast(list[object], value))]
    if rows or not isinstance(value, Mapping) or not (isinstance(inner, type) and issubclass(inner, Word)):
        return value  # pyright: ignore[reportUnknownVariableType]
    spelling, result = _spelling(inner), dict[str, object]()
    for key, item in cast(Mapping[str, object], value).items():
        known = spelling.get(key.lower())
        if known is None:
            near = difflib.get_close_matches(key.lower(), spelling, 1)
            raise Invalid(
                f"there is no {place}.{_short(key)}",
                hint=f"did you mean {spelling[near[0]][0]}?"
                if near
                else f"known: {', '.join(sorted(written for written, _, _ in spelling.values()))}",
            )
        if known[0] in result:
            raise Invalid(f"{place}.{known[0]} is given twice")
        if item is not None or known[2]:  # null, as Go writes what is empty, says nothing
            result[known[0]] = _spelt(item, known[1], f"{place}.{known[0]}")
    return result


def _short(key: str) -> str:
    """A key of somebody's own making, as a message may hold it."""
    return key if key.isprintable() and len(key) <= 80 else ascii(key[:80])


def _inside(kind: Any) -> tuple[Any, bool]:
    """What is inside an optional or a row, whether it is a row. Dictionaries keep their keys as they are."""
    origin = typing.get_origin(kind)
    if origin in (tuple, list):
        return typing.get_args(kind)[0], True
    if origin in (typing.Union, types.UnionType):
        real = [arg for arg in typing.get_args(kind) if arg is not type(None)]
        return _inside(real[0]) if len(real) == 1 else (None, False)
    return kind, False
