"""`/metrics`: what the agent counts and what the rooms measure, as Prometheus reads it.

prometheus_client is loaded by the first scrape: an agent that nobody scrapes does not have it in memory.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import ModuleType
from typing import Any

from geard import __version__, catalog
from geard.daemon.tally import BUCKETS, Tally
from geard.failures import Failure
from geard.host import Host
from geard.measures import Measure, single

log = logging.getLogger(__name__)

TYPE = "text/plain; version=0.0.4; charset=utf-8"
ROOM_SECONDS = 4.0
"""a scrape has ten in all, where nothing else is said"""
KEPT_SECONDS = 1.0
"""several who scrape at once share one look"""


@dataclass
class Exposition:
    host: Host
    tally: Tally
    of_agent: Callable[[], Sequence[Measure]]
    """what of the agent is counted when somebody looks"""
    _text: bytes = b""
    _made: float = -KEPT_SECONDS
    _making: asyncio.Task[bytes] | None = None

    async def text(self) -> bytes:
        if time.monotonic() - self._made < KEPT_SECONDS:
            return self._text
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make())
        return await asyncio.shield(self._making)

    async def _make(self) -> bytes:
        measures = [*self.of_agent(), *await _of_rooms(self.host), *_process()]
        self._text = await asyncio.to_thread(render, measures, self.tally)
        self._made = time.monotonic()
        return self._text


async def _of_rooms(host: Host) -> list[Measure]:
    """What cannot be had just now (systemd does not answer) is left out, and said by one figure."""
    modules = {module.__name__.split(".")[-2]: module for module in catalog.doors("metrics")}
    found = await asyncio.gather(*(_of_room(room, module, host) for room, module in modules.items()))
    failed = {room: float(measures is None) for room, measures in zip(modules, found, strict=True)}
    about = "Whether the figures of a part could not be had at this scrape."
    together = [measure for measures in found for measure in measures or ()]
    return [*together, Measure("geard_measure_failed", about, failed, "part")]


async def _of_room(room: str, module: ModuleType, host: Host) -> Sequence[Measure] | None:
    try:
        async with asyncio.timeout(ROOM_SECONDS):
            measures: Sequence[Measure] = await module.measure(host)
            return measures
    except (Failure, OSError, TimeoutError) as error:
        log.warning("no figures of %s: %s", room, str(error) or f"none within {ROOM_SECONDS:g} s")
        return None


def _process() -> list[Measure]:
    """Of this process, by the names that all clients of Prometheus give them (proc(5))."""
    with open("/proc/self/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    with open("/proc/stat", encoding="ascii") as file:
        boot = next(int(line.split()[1]) for line in file if line.startswith("btime "))
    ticks = os.sysconf("SC_CLK_TCK")
    return [
        single(
            "process_cpu_seconds_total",
            "Processor time, user and system.",
            (int(fields[11]) + int(fields[12])) / ticks,
            "counter",
        ),
        single("process_start_time_seconds", "When it started, since 1970.", boot + int(fields[19]) / ticks),
        single("process_virtual_memory_bytes", "Virtual memory.", int(fields[20])),
        single("process_resident_memory_bytes", "Resident memory.", int(fields[21]) * os.sysconf("SC_PAGE_SIZE")),
        single("process_open_fds", "Open file descriptors.", len(os.listdir("/proc/self/fd"))),
        single("process_max_fds", "The most there may be.", _most_files()),
    ]


def _most_files() -> int:
    import resource  # noqa: PLC0415 - with the first scrape, as the rest

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def render(measures: Iterable[Measure], tally: Tally) -> bytes:
    """The text format (prometheus.io/docs/instrumenting/exposition_formats)."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - see above

    class Collected:
        def collect(self) -> Iterable[Any]:
            yield from _build()
            yield from _requests(tally)
            yield from map(_family, measures)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collected())
    return generate_latest(registry)


def _build() -> Iterable[Any]:
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

    family = GaugeMetricFamily("geard_build_info", "Which geard this is.", labels=["version", "python"])
    family.add_metric([__version__, platform.python_version()], 1)
    yield family


def _requests(tally: Tally) -> Iterable[Any]:
    from prometheus_client.core import (  # noqa: PLC0415
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    labels = ["method", "route"]
    answered = CounterMetricFamily(
        "geard_http_requests", "Requests answered, by route and status.", labels=[*labels, "code"]
    )
    for (name, status), count in sorted(tally.answered.items()):
        answered.add_metric([*name, str(status)], count)
    yield answered
    durations = HistogramMetricFamily(
        "geard_http_request_duration_seconds",
        "From a question's head to its answer's; what follows (a report, a stream) is not in it.",
        labels=labels,
    )
    bounds = [*map(str, BUCKETS), "+Inf"]
    for name, found in sorted(tally.durations.items()):
        buckets = list(zip(bounds, accumulate(found.counts), strict=True))
        durations.add_metric(list(name), buckets, found.sum)
    yield durations
    running = GaugeMetricFamily(
        "geard_http_requests_open",
        "Requests whose answers have not ended.",
        labels=labels,
    )
    for name, count in sorted(tally.open.items()):
        running.add_metric(list(name), count)
    yield running


def _family(measure: Measure) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

    kind = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
    labels = [measure.label] if measure.label else []
    family = kind(measure.name, measure.about, labels=labels)
    for label, value in sorted(measure.values.items()):
        family.add_metric([label] if labels else [], value)
    return family
