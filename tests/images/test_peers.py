"""What a peer offers, believed by digests alone; a pull that gets nothing, and how far one is."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from pathlib import Path

import pytest

from geard.host.paths import Paths
from geard.images.peers import Offer, id_of, keep_origin, offer, origin
from geard.images.requests import ShownImage
from geard.images.underway import underway
from geard.images.unit_hooks.pull import Layers, _tried  # pyright: ignore[reportPrivateUsage]
from geard.images.watching import bar

ID = "a" * 64
MANIFEST = json.dumps({"config": {"digest": f"sha256:{ID}"}})
DIGEST = f"sha256:{hashlib.sha256(MANIFEST.encode()).hexdigest()}"
ODD = ('{"config": "x"}', '{"config": {"digest": [7]}}', '{"manifests": ["x"]}', '{"manifests": 7}', "[" * 100_000)
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


@pytest.mark.parametrize("odd", ODD, ids=len)
def test_a_manifest_of_odd_parts_proves_nothing(odd: str) -> None:
    digest = f"sha256:{hashlib.sha256(odd.encode()).hexdigest()}"
    shown = _shown(manifests=(odd,), digest=digest)
    assert offer("h1", f"docker.io/a@{digest}", shown) is None
    assert offer("h1", "docker.io/a:1", shown) == Offer("h1", ID, (), "")


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


def test_a_bar_that_is_drawn_again_and_again_is_no_sign_of_life() -> None:
    drawn = r"\33[1A\rCopying blob aa3eb6cd4ec3 [=>---] 1MiB / 9MiB\r\n"
    draws = f"import os, time\nwhile True: os.write(1, b'{drawn}'), time.sleep(0.01)"
    assert _tried({"argvs": [[sys.executable, "-c", draws]], "stall": 2}) == "Error: nothing came for 2 s"


PODMANS = """\
Copying blob aa3eb6cd4ec3 skipped: already exists
Copying blob 866033891cd2 [--------------------------------------] 0.0b / 8.6MiB
Copying blob 9425d0b47a1a [======>-------------------------------] 7.4MiB / 38.2MiB | 147.4 MiB/s
Copying blob 866033891cd2 done   |
Copying config c2bca7fa72 done   |
Copying blob sha256:0dd51f3c6f0ac7ba8a5ba3d4bc2dd5c5c1f4ac1dd4ff5ff5e8c0b8a1d4c5e6f7
"""
DOCKERS = """\
84f4e3df39fc: Pulling fs layer
84f4e3df39fc: Already exists
866033891cd2: Downloading [=====>      ]  1.2MB/9.0MB
9425d0b47a1a: Downloading [=>          ]  900kB/38MB
866033891cd2: Verifying Checksum
866033891cd2: Download complete
866033891cd2: Extracting [==>         ]  1.2MB/9.0MB
"""


@pytest.mark.parametrize(
    ("drawn", "done", "total"),
    [(PODMANS, int(8.6 * 2**20) + int(7.4 * 2**20), int(8.6 * 2**20) + int(38.2 * 2**20)),
     (DOCKERS, 9_900_000, 47_000_000)],
)  # fmt: skip
def test_how_much_has_come_is_read_from_what_engines_draw(drawn: str, done: int, total: int) -> None:
    layers = Layers()
    assert all(layers.take(line.strip()) for line in drawn.splitlines())
    assert layers.sums() == (done, total)
    assert not any(map(layers.take, ("Trying to pull h1:5000/big:1...", "Error: no", "1: Pulling from big")))


def test_a_pull_is_under_way_while_somebody_holds_its_lock(tmp_path: Path) -> None:
    paths = Paths(run=tmp_path)
    (tmp_path / "pulls").mkdir()
    layers = Layers(str(tmp_path / "pulls/k.bytes"), {"name": "docker.io/a/b:1", "engine": "podman"})
    (found,) = underway(paths)
    assert (found.image, found.engine, found.text()) == ("docker.io/a/b:1", "podman", "no layer yet")
    (tmp_path / "pulls/left.bytes").write_text("{}")
    assert len(list(underway(paths))) == 1, "what was killed has left its file, and no lock"
    layers.close()
    assert list(underway(paths)) == []


def test_a_bar() -> None:
    assert bar("web", 5, 20, 80) == f"web  [{'=' * 10}>{' ' * 29}] 5 B / 20 B"
    assert bar("web", 20, 20, 80) == f"web  [{'=' * 40}] 20 B / 20 B"
    assert len(bar("web", 1, 20, 40)) <= 40 and bar("a" * 60, 1, 20, 30) == "a" * 30
