"""The same image to two hosts at once: from a third host's engine, and from the docker-registry there."""

from __future__ import annotations

from bench.deploying import at_all, hosts_afar
from bench.parts import Bench

WAYS = ("from-peer", "from-registry", "by-podman")


def fetching(bench: Bench, times: int) -> None:
    """Turn about, after one of each for what only a host's first pays."""
    giver, *takers = hosts_afar(bench)
    bench.part("give-image", on=giver)
    for host in takers:
        host.run("sh", "-c", giver.run("sh", "-c", f"gear host invite {host.name} --scope pull 2>/dev/null"))
        bench.part("take-images", on=host)
    for number in range(times + 1):
        for way in WAYS:
            each = at_all(bench, takers, way)
            seconds = max(one["ended"] for one in each) - min(one["began"] for one in each)
            into = f"image.{way}" if number else f"image-warm.{way}"
            bench.found.samples.setdefault(into, []).append(seconds * 1_000)
