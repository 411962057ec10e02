"""Sample container images, made from the base's busybox: nothing is fetched, every host has them. (Real programs
are in `applications`.)

Each is an archive that `podman load` and `docker load` read; hosts have them in /usr/share/geard-lab/images/.
They share one layer.

    busybox-http-app   HTTP on 8080: host name and environment as text; any user; ends at once on TERM, with 0
    envtest            prints its environment, ends with 0
    test-tools         all of busybox, does nothing until TERM
"""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.machine import locked, remove, run
from lab.places import CACHE

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Image:
    name: str
    names: tuple[str, ...]
    command: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict[str, str])
    port: str | None = None
    stop_signal: str = ""
    labels: dict[str, str] = field(default_factory=dict[str, str])
    user: str = ""


# A shell as PID 1 has no signal's default action: without the trap, TERM would do nothing.
PATIENT = """#!/bin/sh
trap 'exit 0' TERM INT
{}
while :; do wait $!; sleep 1 & done
"""
SERVE_HTTP = PATIENT.format("httpd -f -p 8080 -h /srv/www &")
DO_NOTHING = PATIENT.format("sleep 86400 &")

# /proc/1/environ is the container's environment and nothing of CGI's
PAGE = r"""#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
echo "Hello from $(hostname)"
echo
tr '\0' '\n' </proc/1/environ
"""

IMAGES = (
    Image(
        "busybox-http-app",
        (
            "docker.io/geard/busybox-http-app",
            "docker.io/pmorie/sti-html-app",
            "docker.io/openshift/busybox-http-app",
        ),
        ("/bin/serve-http",),
        {"bin/serve-http": SERVE_HTTP, "srv/www/cgi-bin/index.cgi": PAGE},
        "8080/tcp",
    ),
    Image(
        "envtest",
        ("docker.io/geard/envtest", "docker.io/ccoleman/envtest", "docker.io/openshift/envtest"),
        ("/bin/env",),
    ),
    Image(
        "test-tools",
        ("docker.io/geard/test-tools",),
        ("/bin/do-nothing",),
        {"bin/do-nothing": DO_NOTHING},
    ),
)


class Layer:
    """A layer's tar, the same bytes each time it is made."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._bytes, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115

    def directory(self, path: str, mode: int = 0o755) -> None:
        self._tar.addfile(self._entry(path, tarfile.DIRTYPE, mode))

    def link(self, path: str, target: str) -> None:
        entry = self._entry(path, tarfile.SYMTYPE, 0o777)
        entry.linkname = target
        self._tar.addfile(entry)

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        entry = self._entry(path, tarfile.REGTYPE, mode)
        entry.size = len(content)
        self._tar.addfile(entry, io.BytesIO(content))

    def done(self) -> bytes:
        self._tar.close()
        return self._bytes.getvalue()

    def _entry(self, path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode = kind, mode
        return entry


def busybox_layer(busybox: bytes, applets: list[str]) -> bytes:
    layer = Layer()
    for path in ("bin", "dev", "etc", "home", "proc", "root", "run", "srv", "sys", "usr", "usr/bin", "var"):
        layer.directory(path)
    for path in ("tmp", "var/tmp"):
        layer.directory(path, 0o1777)
    layer.file("bin/busybox", busybox, 0o755)
    for applet in applets:
        if applet != "busybox":
            layer.link(f"bin/{applet}", "busybox")
    layer.link("usr/bin/env", "../../bin/busybox")
    layer.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    layer.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    return layer.done()


def files_layer(files: dict[str, str]) -> bytes:
    layer = Layer()
    parents = {str(parent) for path in files for parent in Path(path).parents} - {".", "bin", "srv"}
    for parent in sorted(parents):
        layer.directory(parent)
    for path, text in files.items():
        layer.file(path, text.encode(), 0o755)
    return layer.done()


def archive(image: Image, below: Sequence[bytes], to: Path) -> None:
    """Write an image, its layers below its own files, in the format of `docker save`."""
    layers = [*below]
    if image.files:
        layers.append(files_layer(image.files))
    digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
    ports: dict[str, dict[str, str]] = {image.port: {}} if image.port else {}
    stopped = {"StopSignal": image.stop_signal} if image.stop_signal else {}
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Cmd": list(image.command),
            "Env": ["PATH=/bin:/usr/bin"],
            "ExposedPorts": ports,
            "Labels": {"org.opencontainers.image.title": image.name, **image.labels},
            **stopped,
            **({"User": image.user} if image.user else {}),
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "geard lab"} for _ in layers],
    }
    config_bytes = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(config_bytes).hexdigest()}.json"
    manifest = [
        {
            "Config": config_name,
            "RepoTags": [f"{name}:latest" for name in image.names],
            "Layers": [f"{digest}/layer.tar" for digest in digests],
        }
    ]
    whole = Layer()
    whole.file(config_name, config_bytes)
    for digest, layer in zip(digests, layers, strict=True):
        whole.directory(digest)
        whole.file(f"{digest}/layer.tar", layer)
    whole.file("manifest.json", json.dumps(manifest).encode())
    to.write_bytes(whole.done())


def bottom(debian: Path) -> bytes:
    """The layer below all: a base's busybox."""
    applets = run(["chroot", debian, "/bin/busybox", "--list"]).split()
    return busybox_layer((debian / "bin/busybox").read_bytes(), applets)


def ready(debian: Path) -> Path:
    """The directory with the archives of all images, made from the busybox of a base if it is not there."""
    busybox = (debian / "bin/busybox").read_bytes()
    source = Path(__file__).read_bytes()
    directory = CACHE / "images" / hashlib.sha256(busybox + source).hexdigest()[:12]
    if directory.exists():
        return directory
    with locked(directory.with_name(directory.name + ".lock")):
        if directory.exists():
            return directory
        new = directory.with_name(directory.name + ".new")
        remove(new)
        new.mkdir()
        below = bottom(debian)
        for image in IMAGES:
            archive(image, [below], new / f"{image.name}.tar")
        new.rename(directory)
    return directory


def load_command() -> list[str]:
    """What loads them into the store of a host's root, in one go."""
    script = 'for file in /usr/share/geard-lab/images/*.tar; do podman load --quiet --input "$file" || exit; done'
    return ["sh", "-c", script]
