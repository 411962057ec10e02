"""A registry that misbehaves, in a lab host: `python3 odd_registry.py PORT`. Standard library only.

Each repository holds one image of one layer; its name says what is wrong with it: fine, fails (500), stalls (half
of the layer, then nothing), size (that of the manifest), bytes (another layer than the digest says), slow.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import sys
import tarfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SIZE = 2_000_000
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def sha(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def layer(name: str) -> bytes:
    """No two repositories share one: what came with one is not there for the next."""
    out, content = io.BytesIO(), random.Random(name).randbytes(SIZE)
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(f"{name}.bin")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


class Image:
    def __init__(self, name: str) -> None:
        raw = layer(name)
        self.layer = gzip.compress(raw, 1, mtime=0)
        config: dict[str, Any] = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/x"]},
                  "history": [{}], "rootfs": {"type": "layers", "diff_ids": [sha(raw)]}}  # fmt: skip
        self.config = json.dumps(config).encode()
        size = len(self.layer) + (7 if name == "size" else 0)
        manifest = {
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": sha(self.config), "size": len(self.config)},
            "layers": [{"mediaType": LAYER_TYPE, "digest": sha(self.layer), "size": size}],
        }  # fmt: skip
        self.manifest = json.dumps(manifest).encode()


IMAGES = {name: Image(name) for name in ("fine", "fails", "stalls", "size", "bytes", "slow")}


class Registry(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/v2/":
            self._say(200, b"{}", "application/json")
            return
        _, _, name, kind, _ = self.path.split("/", 4)
        image = IMAGES.get(name)
        if image is None:
            self._say(404, b'{"errors": [{"code": "NAME_UNKNOWN"}]}', "application/json")
        elif name == "fails":
            self._say(500, b"sorry", "text/plain")
        elif kind == "manifests":
            self._say(200, image.manifest, MANIFEST_TYPE)
        elif self.path.endswith(sha(image.config)):
            self._say(200, image.config, "application/octet-stream")
        else:
            self._layer(name, image.layer)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _layer(self, name: str, raw: bytes) -> None:
        if name == "bytes":
            raw = raw[:-9] + b"x" + raw[-8:]
        self._head(200, len(raw), "application/octet-stream")
        pieces = 40 if name == "slow" else 2
        step = -(-len(raw) // pieces)
        for number in range(pieces):
            if name == "stalls" and number:
                time.sleep(600)
            self.wfile.write(raw[number * step : (number + 1) * step])
            if name == "slow":
                time.sleep(0.1)

    def _say(self, status: int, body: bytes, kind: str) -> None:
        self._head(status, len(body), kind)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, length: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        return


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Registry).serve_forever()
