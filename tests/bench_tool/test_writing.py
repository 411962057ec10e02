"""What scripts/bench writes from what it found."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

from bench.findings import Findings
from bench.judge import Counts, judge
from bench.performance import render_performance
from bench.plot import growth, render_plot
from bench.results import MARKER, Run, keep_below

SVG = "{http://www.w3.org/2000/svg}"
RUN = Run("2026-01-01", "scripts/bench --record", ["a machine"], "gear 0", "0.1", ["a note"], [])


def found(**more: float) -> Findings:
    each = {"install": 2.0, "quadlet": 250.0, "set-env": 1.0} | more
    samples = {f"{count}.{name}": [value, value] for count in (10, 1_000) for name, value in each.items()}
    return Findings(samples, {"idle.rss": 40.0, "idle.pss": 30.0, "1000.rss": 60.0, "1000.pss": 50.0})


def test_the_plot_names_its_axes_with_units_and_every_curve_with_its_last_value() -> None:
    words = [e.text for e in ET.fromstring(render_plot(growth(found(), (10, 1_000)))).iter(f"{SVG}text")]
    assert "gears installed (logarithmic)" in words
    assert "median, milliseconds (logarithmic)" in words
    assert {"10", "1,000", "gear: install, one port, 2.0 ms", "Quadlet + daemon-reload, 250 ms"} <= set(words)


def test_names_of_curves_do_not_lie_on_each_other_nor_below_the_plot() -> None:
    close = found(start=1.0, stop=1.01, delete=1.02)
    picture = ET.fromstring(render_plot(growth(close, (10, 1_000))))
    places = sorted(float(e.attrib["y"]) for e in picture.iter(f"{SVG}text") if e.attrib.get("class") == "name")
    assert len(places) == 6
    assert all(lower - upper >= 15.9 for upper, lower in pairwise(places))


def test_a_budget_that_is_missed_is_told_and_one_that_is_not_measured_is_left_out() -> None:
    counts = Counts((10, 1_000), 1_000)
    rows = {row.what: row for row in judge(found(install=3.0), counts)}
    assert rows["install, one port, to the answer, at 1000: p50"].well is False
    assert rows["set-env, to the answer, at 1000: p50"].well is True
    assert not any("reboot" in what or "connections" in what for what in rows)


def test_the_page_has_a_column_for_each_count() -> None:
    page = render_performance(RUN, found(), (10, 1_000))
    assert "|  | 10 | 1,000 |" in page
    assert "| install, one port | 2.0 / 2.0 | 2.0 / 2.0 |" in page
    assert "| none, just started | 40.0 MB | 30.0 MB |" in page


def test_what_people_wrote_below_stays(tmp_path: Path) -> None:
    path = tmp_path / "PAGE.md"
    keep_below(path, "one\n")
    path.write_text(path.read_text() + "by hand\n")
    keep_below(path, "two\n")
    assert path.read_text() == f"two\n{MARKER}by hand\n"
