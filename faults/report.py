"""Outcomes as a table, a line for each scene and fault. Pure, but for reading what `--record` wrote."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Outcome = dict[str, Any]
HEAD = ("request", "by", "fault", "points", "as before", "done", "between", "set right by the next agent", "wrong")


def rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    groups: dict[tuple[str, str, str], list[Outcome]] = {}
    for each in (each for each in outcomes if each["at"] != "not reached"):
        groups.setdefault((each["scene"], each["way"], each["fault"]), []).append(each)
    return [(*key, *map(str, _counts(found))) for key, found in groups.items()]


def _counts(found: Sequence[Outcome]) -> tuple[int | str, ...]:
    left = [each["left"] for each in found]
    between = [each for each in found if each["left"] == "between"]
    looked = [each for each in between if each["by_itself"]]
    mended = sum(each["by_itself"] in ("before", "after") for each in looked)
    return (
        len(found),
        left.count("before"),
        left.count("after"),
        len(between),
        f"{mended} of {len(looked)}" if looked else "–",
        sum(bool(each["wrong"]) for each in found),
    )


def render(outcomes: Sequence[Outcome]) -> str:
    table = [HEAD, *rows(outcomes)]
    lines = ["| " + " | ".join(row) + " |" for row in table]
    lines.insert(1, "|---|---|---|" + "--:|" * (len(HEAD) - 3))
    return "\n".join(lines)


if __name__ == "__main__":
    found = [json.loads(line) for path in sys.argv[1:] for line in Path(path).read_text().splitlines()]
    print(render([each for each in found if "scene" in each]))
