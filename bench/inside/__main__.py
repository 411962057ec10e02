"""`python3 -m bench.inside PART NUMBER…`: measure one thing, print the findings as JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable

from bench.findings import Findings
from bench.inside import (
    answers,
    boots,
    builds,
    burst,
    deployed,
    docker,
    images,
    jobs,
    links,
    looks,
    planning,
    podman,
    quadlet,
    waking,
)

PARTS: dict[str, Callable[..., Findings]] = {
    "answers": answers.answers,
    "burst": burst.burst,
    "check": burst.check,
    "create": podman.create,
    "starts": podman.starts,
    "jobs": jobs.jobs,
    "builds": builds.builds,
    "docker-creates": docker.creates,
    "docker-runs": docker.runs,
    "quadlet": quadlet.quadlet,
    "programs": looks.programs,
    "memory": looks.memory,
    "idle": looks.idle,
    "lists": looks.lists,
    "load": looks.load,
    "logs": looks.logs,
    "planning": planning.planning,
    "relink": links.relink,
    "through": links.through,
    "wakes": waking.wakes,
    "awake": waking.awake,
    "crowd": waking.crowd,
    "sleepers": waking.sleepers,
    "run-gears": boots.run_gears,
    "after-boot": boots.after_boot,
    "bare-starts": boots.bare_starts,
    "hear-afar": deployed.hear_afar,
    "deploy": deployed.deploy,
    "deploy-again": deployed.deploy_again,
    "stop-deployed": deployed.stop_deployed,
    "undeploy": deployed.undeploy,
    "answering": deployed.answering,
    "loop": deployed.loop,
    "end-loop": deployed.end_loop,
    "give-image": images.give_image,
    "take-images": images.take_images,
    "from-peer": images.from_peer,
    "from-registry": images.from_registry,
    "by-podman": images.by_podman,
}

print(PARTS[sys.argv[1]](*map(int, sys.argv[2:])).as_json())
