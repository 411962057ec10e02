"""The grammar of `switchns`, in both forms that the original had (2014: the name first; later: --container)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geard.failures import Invalid

USAGE = "switchns NAME [--env NAME=VALUE]... [--] COMMAND..."


@dataclass(frozen=True)
class Wanted:
    container: str
    command: tuple[str, ...]
    variables: tuple[str, ...] = ()


def parse_switchns(words: Sequence[str]) -> Wanted:
    """`NAME [--env A=B]... [--] COMMAND...`, `--container=NAME [--env A=B]... -- COMMAND...`. Raises Invalid."""
    left = list(words)
    container, variables = "", list[str]()
    while left:
        word = left.pop(0)
        if word == "--":
            break
        name, equals, value = word.partition("=")
        if name in ("--env", "-e", "--container"):
            if not equals and not left:
                raise Invalid(f"{name} needs a value", hint=USAGE)
            value = value if equals else left.pop(0)
            if name != "--container":
                variables.append(value)
            elif container:
                raise Invalid(f"both {container} and {value} are to be entered", hint=USAGE)
            else:
                container = value
        elif word in ("--git", "--git-ro"):
            raise Invalid(f"switchns has no {word} here", hint=USAGE)
        elif word.startswith("-"):
            raise Invalid(f"switchns knows no {word}", hint=USAGE)
        elif not container:
            container = word
        else:
            left.insert(0, word)
            break
    if not container:
        raise Invalid("which gear is to be entered?", hint=USAGE)
    if not left:
        raise Invalid("which program is to be run?", hint=USAGE)
    return Wanted(container, tuple(left), tuple(variables))
