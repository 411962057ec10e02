#!/usr/bin/python3 -IS
"""A gear's network namespace is there and its program has yet to begin: have the links in it.

    gear-link               as a createRuntime hook of podman's OCI runtime (oci-hooks(5)), which tells the
                            container's state on stdin: for gears that gear-prepare gave the annotation geard.links
    gear-link ctr-ID early  by gear-docker, before it has Docker Engine start the container: that has no such hook,
                            so its namespaces are watched, to be there in the moment between network and program
    gear-link job-ID early  by gear-job, the same
    gear-link ctr-ID PID    by gear-docker, when the program has begun

Where it fails the gear does not start: without its links it would talk to nobody, or to somebody else.
"""

from __future__ import annotations

import json
import re
import sys

RUN = "/run/geard"
BASE = "/var/lib/containers"
DOCKER_NAMESPACES = "/run/docker/netns"
EARLY_SECONDS = 60.0


def main(argv: list[str]) -> int:
    if argv:
        name, pid = argv[0], int(argv[1]) if argv[1] != "early" else 0
    else:
        state = json.load(sys.stdin)
        name, pid = str(state.get("annotations", {}).get("geard.links", "")), int(state["pid"])
    if not re.fullmatch(r"(ctr|job)-[A-Za-z0-9][A-Za-z0-9_.-]{1,63}", name) or ".." in name:
        print(f"gear-link: {name!r} is no gear", file=sys.stderr)
        return 1
    sys.path.append(f"/opt/geard/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")
    from geard.links import live  # noqa: PLC0415 - the path must be known before

    place, lent = live.Place(BASE, RUN, name.removeprefix("ctr-")), f"{RUN}/jobs/{name.removeprefix('job-')}"
    try:
        if name.startswith("job-"):
            if pid:
                live.enter_lent(lent, pid)
            elif not live.enter_early(lent, DOCKER_NAMESPACES, EARLY_SECONDS):
                raise OSError(f"its network was not there within {EARLY_SECONDS:g} s")
        elif pid:
            live.enter(place, pid)
        else:
            live.enter_early(place.state, DOCKER_NAMESPACES, EARLY_SECONDS)
    except OSError as error:
        print(f"gear-link: the links of {name} cannot be made: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
