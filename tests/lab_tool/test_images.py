"""The sample images are archives in the format of `docker save`, the same bytes each time."""

import hashlib
import json
import tarfile
from io import BytesIO
from pathlib import Path

from lab.images import IMAGES, archive, busybox_layer


def test_archives(tmp_path: Path) -> None:
    below = busybox_layer(b"busybox", ["busybox", "sh", "env"])
    for image in IMAGES:
        archive(image, [below], tmp_path / "one.tar")
        archive(image, [below], tmp_path / "two.tar")
        content = (tmp_path / "one.tar").read_bytes()
        assert content == (tmp_path / "two.tar").read_bytes()
        with tarfile.open(fileobj=BytesIO(content)) as tar:
            files = {name: member.read() for name in tar.getnames() if (member := tar.extractfile(name))}
        (manifest,) = json.loads(files["manifest.json"])
        assert manifest["RepoTags"] == [f"{name}:latest" for name in image.names]
        config = json.loads(files[manifest["Config"]])
        assert config["rootfs"]["diff_ids"] == [
            f"sha256:{hashlib.sha256(files[layer]).hexdigest()}" for layer in manifest["Layers"]
        ]
        assert list(config["config"]["ExposedPorts"]) == ([image.port] if image.port else [])
