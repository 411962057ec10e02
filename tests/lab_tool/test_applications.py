"""Images of real programs are known by name, and each by the id that podman gives it."""

import hashlib
import json
import tarfile
from pathlib import Path

import pytest
from lab.images import IMAGES, archive
from lab.labs import Lab
from lab.machine import LabError

from lab import applications


def test_an_archives_id_is_its_configurations_digest(tmp_path: Path) -> None:
    one, other = tmp_path / "one.tar", tmp_path / "other.tar"
    archive(IMAGES[0], [b""], one)
    archive(IMAGES[1], [b""], other)
    assert len(applications.id_of(one)) == len(hashlib.sha256(b"").hexdigest())
    assert applications.id_of(one) != applications.id_of(other)


def test_what_they_are_made_of_is_in_the_examples() -> None:
    files = {path: text for each in applications.applications() for path, text in each.image.files.items()}
    assert files["etc/haproxy/haproxy.cfg"] == Path("examples/images/haproxy/haproxy.cfg").read_text()
    descriptors = "".join(Path("examples", name).read_text() for name in ("replica_set.yaml", "three_tiers.yaml"))
    assert "gear install geard/postgres db" in Path("examples/database_asleep/README.md").read_text()
    for name in set(applications.names()) - {"githost", "postgres"}:  # the first is what git runs in, and no gear
        assert f"image: geard/{name}\n" in descriptors


def test_a_proxy_says_how_it_is_stopped(tmp_path: Path) -> None:
    (proxy,) = (each.image for each in applications.applications() if each.image.name == "haproxy")
    archive(proxy, [b""], tmp_path / "proxy.tar")
    with tarfile.open(tmp_path / "proxy.tar") as tar:
        member = tar.extractfile(f"{applications.id_of(tmp_path / 'proxy.tar')}.json")
        assert member is not None
        assert json.load(member)["config"]["StopSignal"] == "SIGUSR1"


@pytest.mark.parametrize(
    ("names", "said"), [(["nginx"], "no image nginx: etcd, haproxy"), ([], "which images\\?")]
)
def test_an_image_nobody_knows(names: list[str], said: str) -> None:
    with pytest.raises(LabError, match=said):
        Lab("nobodys").load(names)
