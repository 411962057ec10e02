"""What scripts/bench makes of links, plans and deployments."""

from __future__ import annotations

import pytest
from bench.findings import Findings
from bench.inside.client import Unexpected
from bench.inside.links import judge_meetings, parse_met
from bench.inside.plans import plans
from bench.judge import Counts, Row, judge

COUNTS = Counts((10, 1_000), 1_000)


def rows(found: Findings) -> dict[str, Row]:
    return {row.what: row for row in judge(found, COUNTS)}


def met(*lines: str) -> Findings:
    """Changed to `two` at 10 and to `one` at 20."""
    found = Findings()
    judge_meetings(found, [(10.0, "two"), (20.0, "one")], [parse_met(line) for line in lines])
    return found


def test_a_change_has_come_when_the_new_far_end_has_said_its_name() -> None:
    found = met("9.0 9.1 one", "10.001 10.002 one", "10.003 10.004 two", "12.0 12.1 two", "20.001 20.005 one")
    assert found.samples["led"] == pytest.approx([4.0, 5.0])
    assert found.facts == {"went-back": 0, "refused": 0, "met": 5}


def test_who_is_led_back_and_who_is_refused_is_counted() -> None:
    found = met("10.001 10.002 two", "10.003 10.004 one", "15.0 15.1 -", "20.001 20.002 one")
    assert (found.facts["went-back"], found.facts["refused"]) == (1, 1)


def test_one_that_is_under_way_at_a_change_may_be_led_either_way() -> None:
    found = met("10.001 10.002 two", "19.999 20.001 one", "20.002 20.003 one")
    assert found.facts["went-back"] == 0


def test_a_change_that_does_not_come_is_no_measurement() -> None:
    with pytest.raises(Unexpected, match="no connection was led to two"):
        met("9.0 9.1 one", "10.1 10.2 one", "20.1 20.2 one")


def test_a_connection_lost_by_a_relink_fails_the_short_run() -> None:
    samples = {"relink.led": [4.0, 5.0], "relink.answer": [1.0, 2.0]}
    facts = {
        "relink.kept": 50.0,
        "relink.lost": 1.0,
        "relink.met": 900.0,
        "relink.refused": 0,
        "relink.went-back": 0,
    }
    judged = rows(Findings(samples, facts))
    assert judged["live relink → a connection led to the new far end: p50"].well
    lost = judged["of 50 established connections, lost meanwhile"]
    assert (lost.well, lost.fails) == (False, True)
    assert judged["of 900 new ones meanwhile, refused"].well


def test_a_link_is_compared_pair_by_pair() -> None:
    """What else the machine does while one pair is measured is no difference between the two."""
    samples = {
        f"through.{way}-{what}": [slow * 10.0, slow * 1.0, slow * 2.0]
        for way, slow in (("linked", 1.25), ("direct", 1.0))
        for what in ("push", "ping", "meet")
    }
    judged = rows(Findings(samples, {"through.megabytes": 200}))
    row = judged["through a link / direct: throughput"]
    assert row.measured.startswith("0.80 ×")
    assert (row.well, row.fails) == (False, False)


def test_plans_are_what_they_are_to_be_and_their_growth_is_judged() -> None:
    found = Findings()
    for instances in (100, 1_000, 4_000):
        found.add(plans(100, 10, 1), f"plan-{instances}.")
    judged = rows(found)
    assert judged["plan of 1000 gears with 2500 links over 50 hosts, nothing there: p50"].budget == "≤ 1000 ms"
    found.samples["plan-4000.again-worked"] = [found.samples["plan-1000.again-worked"][0] * 16]
    growth = rows(found)["plan of 4000 gears / of 1000, all there: time of the processor"]
    assert (growth.well, growth.fails) == (False, True)


def test_gears_that_do_not_answer_after_a_deploy_are_told() -> None:
    samples = {"deploy.deploy": [9_000.0, 11_000.0], "deploy.loop": [8_000.0, 8_000.0], "deploy.again": [700.0]}
    facts = {"deploy.gears": 60.0, "deploy.hosts": 3, "deploy.gears-silent": 2, "deploy.containers-silent": 0}
    judged = rows(Findings(samples, facts))
    compared = judged["gear deploy of 60 gears on 3 hosts / podman run in a shell loop on each"]
    assert compared.measured == "1.25 × (10.0 s / 8.0 s, 2 pairs)"
    assert judged["of those gears, that do not answer"].well is False


def test_an_image_from_a_host_stands_beside_one_from_a_registry() -> None:
    samples = {"image.from-peer": [9_000.0, 11_000.0], "image.from-registry": [20_000.0, 20_000.0]}
    samples["image.by-podman"] = [8_000.0, 8_000.0]
    judged = rows(Findings(samples))
    what = "gear pull of 300 MB to two hosts at once, from a third host / from"
    assert judged[f"{what} a docker-registry"].measured == "0.50 × (10.0 s / 20.0 s, 2 pairs)"
    assert judged[f"{what} that by podman pull"].measured == "1.25 × (10.0 s / 8.0 s, 2 pairs)"
