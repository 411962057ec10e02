"""docs/performance.svg: time to the answer by the number of gears installed, both axes logarithmic. Pure.

Plain SVG that carries its own colours for light and dark (`prefers-color-scheme`), as browsers and forges show it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from bench.findings import Findings, p50
from bench.judge import at

WIDTH, HEIGHT = 860, 470
LEFT, RIGHT, TOP, BOTTOM = 84, 258, 54, 62
LABEL_GAP = 16.0

SERIES = (
    ("Quadlet + daemon-reload", "quadlet", "other", "6 4"),
    ("docker create, REST", "docker-create", "docker", "6 4"),
    ("podman create, REST", "create", "podman", "6 4"),
    ("gear: list of all", "list", "list", "2 3"),
    ("gear: install, one port", "install", "install", ""),
    ("gear: stop", "stop", "stop", ""),
    ("gear: start", "start", "start", ""),
    ("gear: delete", "delete", "delete", ""),
    ("gear: set-env", "set-env", "setenv", ""),
)

# Without var(), which few programs but browsers know; those show the light colours.
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 } .tick { font-size: 12px; fill: #656d76 }
.ground { fill: #ffffff } .grid { stroke: #d8dee4 }
.budget { stroke: #b35900; stroke-dasharray: 3 3 } .budget-text { fill: #b35900; font-size: 12px }
.curve { fill: none; stroke: currentColor; stroke-width: 2 } .dot, .name { fill: currentColor }
.install { color: #0969da } .start { color: #1a7f37 } .stop { color: #8250df } .delete { color: #bf3989 }
.setenv { color: #0e7c86 } .list { color: #57606a }
.podman { color: #bc4c00 } .docker { color: #9a6700 } .other { color: #cf222e }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .tick { fill: #9198a1 }
  .ground { fill: #0d1117 } .grid { stroke: #30363d }
  .budget { stroke: #f0a04b } .budget-text { fill: #f0a04b }
  .dot, .name { fill: currentColor }
  .install { color: #58a6ff } .start { color: #3fb950 } .stop { color: #bc8cff } .delete { color: #f778ba }
  .setenv { color: #39c5cf } .list { color: #b1bac4 }
  .podman { color: #ff9b5e } .docker { color: #e3b341 } .other { color: #ff7b72 }
}
"""


@dataclass(frozen=True)
class Curve:
    name: str
    kind: str
    """its class in the style, which gives its colour"""
    dashes: str
    points: Mapping[int, float]
    """gears installed -> milliseconds"""


def growth(found: Findings, counts: Sequence[int]) -> list[Curve]:
    curves: list[Curve] = []
    for name, samples, kind, dashes in SERIES:
        points = {count: p50(values) for count in counts if (values := found.samples.get(at(count) + samples))}
        if points:
            curves.append(Curve(name, kind, dashes, points))
    return curves


def render_plot(curves: Sequence[Curve]) -> str:
    counts = sorted({count for curve in curves for count in curve.points})
    values = [value for curve in curves for value in curve.points.values()]
    if not values:
        raise ValueError("there is nothing to draw")
    x = Scale(counts[0], max(counts[-1], counts[0] * 10), LEFT, WIDTH - RIGHT)
    y = Scale(
        10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values))), HEIGHT - BOTTOM, TOP
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        ' aria-label="Milliseconds to the answer by the number of gears installed">',
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        text(LEFT, 28, "Time to the answer, by what is installed", "title"),
        *axes(x, y, counts),
        *budget(x, y, 2.5),
    ]
    for curve in curves:
        parts += drawn(curve, x, y)
    parts += names(curves, y)
    return "\n".join([*parts, "</svg>\n"])


@dataclass(frozen=True)
class Scale:
    """From values, by their logarithm, to places in the picture."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + part * (self.end - self.begin)


def axes(x: Scale, y: Scale, counts: Sequence[int]) -> list[str]:
    parts: list[str] = []
    power = y.low
    while power <= y.high * 1.001:
        parts.append(line(x.begin, y(power), x.end, y(power), "grid"))
        parts.append(text(x.begin - 8, y(power) + 4, f"{power:,.10g}", "tick", "end"))
        power *= 10
    for count in counts:
        parts.append(line(x(count), y.begin, x(count), y.end, "grid"))
        parts.append(text(x(count), y.begin + 20, f"{count:,}", "tick", "middle"))
    middle = (y.begin + y.end) / 2
    parts.append(text((x.begin + x.end) / 2, HEIGHT - 16, "gears installed (logarithmic)", "", "middle"))
    parts.append(
        f'<text transform="translate(18 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        "median, milliseconds (logarithmic)</text>"
    )
    return parts


def budget(x: Scale, y: Scale, value: float) -> list[str]:
    if not y.low < value < y.high:
        return []
    label = text(x.begin + 6, y(value) - 5, f"budget of a change: {value:g} ms", "budget-text")
    return [line(x.begin, y(value), x.end, y(value), "budget"), label]


def drawn(curve: Curve, x: Scale, y: Scale) -> list[str]:
    places = [(x(count), y(value)) for count, value in sorted(curve.points.items())]
    route = " ".join(f"{across:.1f},{down:.1f}" for across, down in places)
    dashes = f' stroke-dasharray="{curve.dashes}"' if curve.dashes else ""
    return [
        f'<g class="{curve.kind}"><polyline class="curve"{dashes} points="{route}"/>',
        *(f'<circle class="dot" cx="{across:.1f}" cy="{down:.1f}" r="3"/>' for across, down in places),
        "</g>",
    ]


def names(curves: Sequence[Curve], y: Scale) -> list[str]:
    """Each curve's name and last value at its right end, moved apart where they would lie on each other."""
    ends = sorted(((y(last(curve)), curve) for curve in curves), key=lambda end: end[0])
    places: list[float] = []
    for place, _ in ends:
        places.append(max(place, places[-1] + LABEL_GAP) if places else place)
    over = places[-1] - y.begin
    for index in range(len(places) - 1, -1, -1):
        if over <= 0:
            break
        lowest = places[index + 1] - LABEL_GAP if index + 1 < len(places) else y.begin
        places[index] = min(places[index], lowest)
    left = WIDTH - RIGHT + 12
    return [
        f'<g class="{curve.kind}">{text(left, place + 4, f"{curve.name}, {show(last(curve))} ms", "name")}</g>'
        for place, (_, curve) in zip(places, ends, strict=True)
    ]


def last(curve: Curve) -> float:
    return curve.points[max(curve.points)]


def show(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(across: float, down: float, words: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
