"""What a build is going to do, as a value: decided from what was found, before any of it is done. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from geard.builds.scripts import Script, Strategy

Step = Literal[
    "fetch",  # the source to this host
    "images",  # the base and runtime images to this host
    "scripts",  # those that are fetched
    "save-artifacts",  # run in the image that this build made before
    "assemble",  # run in the base image
    "build",  # the Containerfile
    "assemble-runtime",  # run in the runtime image, with the artifacts of `assemble`
    "commit",  # what came of it becomes the image
    "start",  # the gear is updated to it
]


@dataclass(frozen=True)
class Facts:
    strategy: Strategy
    scripts: Mapping[str, Script]
    previous: bool
    """whether there is an image of that tag, made by a build from the same base"""
    clean: bool
    runtime: bool
    start: bool


@dataclass(frozen=True)
class Plan:
    steps: tuple[Step, ...]
    why_clean: str = ""
    """why nothing is taken over from the image before; empty where something is"""

    @property
    def incremental(self) -> bool:
        return "save-artifacts" in self.steps


def make_plan(facts: Facts) -> Plan:
    steps: list[Step] = ["fetch", "images"]
    why = ""
    if facts.strategy == "containerfile":
        steps.append("build")
        why = "a Containerfile says itself what is kept"
    else:
        steps.append("scripts")
        why = _why_clean(facts)
        if not why:
            steps.append("save-artifacts")
        steps.append("assemble")
        if facts.runtime:
            steps.append("assemble-runtime")
    steps.append("commit")
    if facts.start:
        steps.append("start")
    return Plan(tuple(steps), why)


def _why_clean(facts: Facts) -> str:
    if facts.clean:
        return "a clean build was asked for"
    if "save-artifacts" not in facts.scripts:
        return "there is no save-artifacts script"
    if not facts.previous:
        return "there is no image of that tag from the same base"
    return ""
