"""Sweep some scenes in this host: `main(["install:command:kill:1:1", …])`; each outcome is a line of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence

from faults.inside.jobs import JobSweep
from faults.inside.scenes import SCENES
from faults.inside.sweep import Sweep, as_json, clear

AGENT = ("geard.socket", "geard-loopback.socket", "geard-loopback6.socket", "geard.service")


def main(words: Sequence[str]) -> None:
    """Each word is SCENE:WAY:FAULT:STRIDE:FIRST."""
    subprocess.run(["systemctl", "stop", *AGENT], check=True)
    try:
        for word in words:
            name, way, fault, stride, first = word.split(":")
            began = time.monotonic()
            scene = next(scene for scene in SCENES if scene.name == name)
            sweep = JobSweep(scene, way) if scene.job else Sweep(scene, way)
            sweep.prepare()
            points = 0
            for outcome in sweep.outcomes(fault, int(stride), int(first)):
                points += 1
                print(json.dumps(as_json(outcome)), flush=True)
            total = {"scene": name, "way": way, "fault": fault, "stops": len(sweep.stops), "points": points}
            print(json.dumps({"total": total, "seconds": round(time.monotonic() - began, 1)}), flush=True)
        clear()
    finally:
        subprocess.run(["systemctl", "start", *AGENT[:3]], check=True)


main(sys.argv[1:])
