"""How long each verb takes to its answer, paced, beside what a durable file costs on the same disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench.findings import Findings
from bench.inside.client import REST_SECONDS, Paced, wish

SCRATCH = Path("/var/lib/containers/bench-scratch")


def answers(cycles: int, starts: int) -> Findings:
    found = Findings()
    SCRATCH.mkdir(exist_ok=True)
    with Paced() as paced:
        warm_up(paced)
        for number in range(cycles):
            with_port = number % 2 == 0
            gear = f"/container/many-verb-{number}"
            found.sample("fsync", durable_file())
            found.sample("install" if with_port else "install-plain", paced.ask("PUT", gear, wish(port=with_port)))
            found.sample("set-env", paced.ask("PUT", f"/environment/many-verb-{number}", variables(number)))
            found.sample("link", paced.ask("PUT", f"{gear}/links", leading(number)))
            found.sample("delete", paced.ask("DELETE", gear, {"Purge": True}))
        paced.ask("PUT", "/container/many-verb", wish())
        for _ in range(starts):
            found.sample("start", paced.ask("PUT", "/container/many-verb/started"))
            found.sample("stop", paced.ask("PUT", "/container/many-verb/stopped"))
        paced.ask("DELETE", "/container/many-verb", {"Purge": True})
    return found


def warm_up(paced: Paced) -> None:
    """What only the first requests of an agent pay for, and no budget is about."""
    for _ in range(5):
        paced.ask("PUT", "/container/many-warm-up", wish())
        paced.ask("PUT", "/environment/many-warm-up", variables(0))
        paced.ask("PUT", "/container/many-warm-up/links", leading(0))
        paced.ask("DELETE", "/container/many-warm-up", {"Purge": True})


def variables(number: int) -> dict[str, object]:
    return {"Variables": [{"Name": "NUMBER", "Value": str(number)}, {"Name": "GREETING", "Value": "hello"}]}


def leading(number: int) -> dict[str, object]:
    """Two links, to where nobody is asked."""
    return {
        "NetworkLinks": [
            {"FromPort": 8081, "ToHost": "192.0.2.7", "ToPort": 4_000 + number},
            {"FromHost": "127.0.0.2", "FromPort": 8081, "ToHost": "192.0.2.8", "ToPort": 4_000},
        ]
    }


def durable_file() -> float:
    """Seconds for 2 KiB that a power cut cannot take back: the file, its name, its folder."""
    began = time.perf_counter()
    draft = SCRATCH / "draft"
    with draft.open("wb", buffering=0) as file:
        file.write(b"x" * 2_048)
        os.fsync(file.fileno())
    draft.rename(SCRATCH / "file")
    folder = os.open(SCRATCH, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)
    took = time.perf_counter() - began
    time.sleep(REST_SECONDS)
    return took
