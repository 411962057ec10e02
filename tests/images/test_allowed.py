"""Registries an admin allows: what may not be pulled is refused before anything is written down."""

from __future__ import annotations

import pytest
from tests.fakes.host import tree
from tests.fakes.terminal import Terminal

ALLOW = '[registries]\nallow = ["docker.io/acme/*"]\n'


@pytest.mark.parametrize("image", ["geard/sample", "docker.io/geard/sample:latest", "quay.io/acme/app"])
def test_an_image_that_may_not_be_pulled_is_refused_and_nothing_is_left(gear: Terminal, image: str) -> None:
    (gear.host.paths.settings / "geard.toml").write_text(ALLOW)
    before = tree(gear.host.folder)
    refused = gear("install", image, "web", "--start")
    assert refused.code == 4
    assert "[registries] allow" in refused.err
    assert tree(gear.host.folder) == before


def test_one_that_is_here_needs_no_pull(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    (gear.host.paths.settings / "geard.toml").write_text(ALLOW)
    gear.ok("install", "geard/sample", "other", "--start")
    assert gear("update", "web", "--image", "quay.io/acme/app").code == 4
    assert '"Image":"geard/sample"' in gear.ok("cat", "web")
