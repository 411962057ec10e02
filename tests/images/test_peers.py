"""What a peer offers, believed by digests alone; and a pull that gets nothing."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from pathlib import Path

import pytest

from geard.host.paths import Paths
from geard.images.peers import Offer, id_of, keep_origin, offer, origin
from geard.images.requests import ShownImage
from geard.images.unit_hooks.pull import _tried  # pyright: ignore[reportPrivateUsage]

ID = "a" * 64
MANIFEST = json.dumps({"config": {"digest": f"sha256:{ID}"}})
DIGEST = f"sha256:{hashlib.sha256(MANIFEST.encode()).hexdigest()}"
HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _shown(
    *, id: str = ID, manifests: tuple[str, ...] = (MANIFEST,), architecture: str = HERE, digest: str = DIGEST
) -> ShownImage:
    return ShownImage(
        id=id,
        names=(),
        size=1,
        architecture=architecture,
        os="linux",
        manifest="sha256:" + "b" * 64,
        manifests=manifests,
        digest=digest,
    )


def test_an_offer_has_the_registrys_digest_where_that_is_proved() -> None:
    assert offer("h1", "docker.io/a:1", _shown()) == Offer("h1", ID, (MANIFEST,), DIGEST)
    assert offer("h1", f"docker.io/a@{DIGEST}", _shown()) == Offer("h1", ID, (MANIFEST,), DIGEST)
    assert offer("h1", "docker.io/a:1", _shown(manifests=())) == Offer("h1", ID, (), "")
    assert offer("h1", "docker.io/a:1", _shown(digest="sha256:" + "c" * 64)) == Offer("h1", ID, (), "")


@pytest.mark.parametrize(
    "lie",
    [
        _shown(id="b" * 64),
        _shown(manifests=()),
        _shown(manifests=(MANIFEST + " ",)),
        _shown(id="../x"),
        _shown(architecture="s390x"),
        _shown(manifests=(MANIFEST, "x" * (5 << 20))),
    ],
)
def test_a_peer_that_lies_about_a_digest_offers_nothing(lie: ShownImage) -> None:
    assert offer("h1", f"docker.io/a@{DIGEST}", lie) is None


def test_where_an_image_came_from_is_kept_and_not_believed_when_it_is_damaged(tmp_path: Path) -> None:
    paths = Paths(state=tmp_path)
    keep_origin(paths, Offer("h1", ID, (MANIFEST,), DIGEST))
    assert id_of(paths, DIGEST) == ID
    for text in ("", "{", "[]", (tmp_path / "images" / ID).read_text().replace("a" * 64, "b" * 64)):
        (tmp_path / "images" / ID).write_text(text)
        assert origin(paths, ID) is None and id_of(paths, DIGEST) == ""
    assert origin(paths, "../../etc/passwd") is None


def test_a_pull_that_gets_nothing_is_ended_and_undone(tmp_path: Path) -> None:
    undone = tmp_path / "undone"
    begun = time.monotonic()
    said = _tried({"argvs": [["/bin/sleep", "600"]], "stall": 1, "undo": ["/usr/bin/touch", str(undone)]})
    assert said == "Error: nothing came for 1 s"
    assert undone.exists() and time.monotonic() - begun < 60


def test_a_pull_that_goes_on_is_left_alone() -> None:
    slow = "for n in 1 2 3; do head -c 100000 /dev/zero >/dev/null; sleep 0.9; done"
    assert _tried({"argvs": [["/bin/sh", "-c", slow]], "stall": 2}) is None


def test_the_first_that_fails_ends_a_try() -> None:
    assert _tried({"argvs": [["/bin/sh", "-c", "echo no >&2; exit 3"], ["/bin/false"]]}) == "no\n"
