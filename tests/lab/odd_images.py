"""Images as people have them who did not think of us: made in the test, for `podman load`.

Each stands on geard/test-tools' own layer, so that what they have in common is loaded once.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\nworker:x:1234:1235:a worker:/home/worker:/bin/sh\ngiant:x:70000:1::/:/bin/sh\n"
)
GROUP = "root:x:0:\nworkers:x:1235:worker\n"


@dataclass(frozen=True)
class File:
    path: str
    content: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    kind: bytes = tarfile.REGTYPE
    capabilities: str = ""
    """security.capability, as capabilities(7) has it: only bytes that are ASCII"""


@dataclass(frozen=True)
class OddImage:
    name: str
    config: Mapping[str, object]
    files: Sequence[File] = field(default_factory=list[File])

    @property
    def full_name(self) -> str:
        return f"docker.io/odd/{self.name}:latest"


def layer(files: Sequence[File]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in files:
            entry = tarfile.TarInfo(file.path)
            entry.type, entry.mode, entry.uid, entry.gid = file.kind, file.mode, file.uid, file.gid
            entry.size = len(file.content)
            if file.capabilities:
                entry.pax_headers = {"SCHILY.xattr.security.capability": file.capabilities}
            tar.addfile(entry, io.BytesIO(file.content))
    return out.getvalue()


def archive(image: OddImage, below: bytes) -> bytes:
    """What `podman load` reads: the form of `docker save`."""
    layers = [below, layer([*image.files, File("etc/passwd", PASSWD.encode()), File("etc/group", GROUP.encode())])]
    digests = [hashlib.sha256(each).hexdigest() for each in layers]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Env": ["PATH=/bin:/usr/bin"], **image.config},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
            "history": [{"created": "1970-01-01T00:00:00Z"} for _ in layers],
        }
    ).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    names = [f"{digest}/layer.tar" for digest in digests]
    manifest = json.dumps([{"Config": name, "RepoTags": [image.full_name], "Layers": names}]).encode()
    whole = [File(name, config), File("manifest.json", manifest)]
    return layer([*whole, *(File(path, content) for path, content in zip(names, layers, strict=True))])


def bottom_layer(saved: bytes) -> bytes:
    """The first layer of an image that `podman save` wrote."""
    with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        first = tar.extractfile(json.load(manifest)[0]["Layers"][0])
        assert first is not None
        return first.read()
