"""Images listed, named, saved, loaded and removed, on real engines: also from another machine."""

from __future__ import annotations

import json
from typing import Any

from tests.lab.conftest import APP, BOTH, SETTINGS, Shell

TOOLS = "docker.io/geard/test-tools:latest"


def _rows(host: Shell) -> dict[str, dict[str, Any]]:
    found = json.loads(host.gear("images", "-o", "json").stdout)
    return {name: row for row in found for name in row["Names"]}


@BOTH
def test_the_list_says_which_gears_and_kept_versions_need_an_image(host: Shell) -> None:
    host.gear("install", TOOLS, "needs", "--start")
    host.gear("update", "needs", "--image", "geard/busybox-http-app")
    rows = _rows(host)
    assert rows["docker.io/geard/busybox-http-app:latest"]["UsedBy"] == ["needs"]
    (kept,) = rows[TOOLS]["KeptFor"]
    assert kept.startswith("needs@")
    assert len(rows[TOOLS]["Id"]) == 64 and rows[TOOLS]["Size"] > 1_000_000


@BOTH
def test_prune_takes_what_nothing_needs_and_no_more(host: Shell) -> None:
    engine, name = host.engine, "localhost/unneeded:1"
    host.gear("install", TOOLS, "needs")
    host.run([engine, "create", "--name", "standing", APP])
    host.run([engine, "commit", "standing", name])
    host.run([engine, "commit", "standing", "localhost/needed:1"])
    host.run([engine, "create", "--name", "other", "localhost/needed:1"])
    try:
        # What other tests have here stays; it would be taken as well.
        host.run(["tee", SETTINGS], stdin=f'[engine]\ndefault = "{engine}"\n[images]\nkeep = ["docker.io/*"]\n')
        assert "more without a use, not for long enough" in host.gear("prune").stdout
        would = host.gear("prune", "--days", "0", "--dry-run").stdout
        assert f"Would remove {name} (" in would and "localhost/needed:1" not in would
        assert name in host.gear("images", "-o", "name").stdout
        assert f"Removed {name} (" in host.gear("prune", "--days", "0").stdout
        left = host.gear("images", "-o", "name").stdout.split()
        assert name not in left and {TOOLS, "localhost/needed:1"} <= set(left)
    finally:
        host.run([engine, "rm", "standing", "other"])
        host.run([engine, "rmi", "localhost/needed:1"])
        host.run(["rm", "-f", SETTINGS])


@BOTH
def test_an_archive_of_one_machine_is_taken_in_by_another_over_tls(host: Shell) -> None:
    """Through the agent, both ways; the image is the same one by its digest."""
    name = "localhost/carried:1"
    host.gear("tag", TOOLS, name)
    before = _rows(host)[name]["Id"]
    host.gear("save", name, "-o", "/tmp/here.tar")
    host.gear("save", name, "--host", "localhost", "-o", "/tmp/agent.tar")
    host.gear("remove-image", name)
    assert name not in _rows(host)
    for file in ("here", "agent"):
        host.gear("load", "--host", "localhost", "-i", f"/tmp/{file}.tar")
        assert _rows(host)[name]["Id"] == before
        host.gear("remove-image", name)
    with_stdin = f"gear load </tmp/here.tar && {host.engine} image inspect {name} >/dev/null"
    host.sh(with_stdin)
    host.gear("remove-image", name)
    half = host.sh("head -c 100000 /tmp/here.tar | gear load --host localhost", check=False)
    assert half.returncode != 0 and name not in _rows(host)
    full = host.gear("save", TOOLS, "-o", "/dev/full", check=False)
    assert full.returncode != 0
    host.sh("rm -f /tmp/here.tar /tmp/agent.tar")


@BOTH
def test_what_a_gear_needs_is_removed_by_force_alone(host: Shell) -> None:
    engine, name = host.engine, "localhost/wanted:1"
    host.run([engine, "create", "--name", "standing", APP])
    host.run([engine, "commit", "standing", name])
    host.run([engine, "rm", "standing"])
    host.gear("install", name, "wants")
    refused = host.gear("remove-image", name, check=False)
    assert refused.returncode == 6 and "wants needs it" in refused.stderr
    host.gear("remove-image", name, "--force")
    assert name not in _rows(host)
