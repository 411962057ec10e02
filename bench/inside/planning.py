"""How long a plan of a deployment takes: a process of geard's own Python, which `plans` runs in."""

from __future__ import annotations

from bench.findings import Findings, parse_findings
from bench.inside.looks import PYTHON, whole


def planning(instances: int, hosts: int, times: int) -> Findings:
    return parse_findings(whole([PYTHON, "-m", "bench.inside.plans", *map(str, (instances, hosts, times))]))
