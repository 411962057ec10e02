"""The pulling half of the OCI distribution API, and layers put together from what an engine keeps."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from geard.dispatch.plain import Ask, Plain
from geard.failures import Denied, Unauthenticated, Unavailable
from geard.host.stores import leads_to
from geard.host.stores.podman import PodmanStore
from geard.host.stores.tar_split import read_layer, size_of
from geard.images import protocol
from geard.images.protocol import _answer, refusal  # pyright: ignore[reportPrivateUsage]

FILES = {"a/large": bytes(range(256)) * 9_000, "a/b/small": b"small", "empty": b""}
NAME = "docker.io/acme/app"


def _sha(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in FILES.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _split(archive: bytes) -> list[dict[str, object]]:
    """As github.com/vbatts/tar-split has it: what is between the files, and their names."""
    entries: list[dict[str, object]] = []
    at = 0
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            raw = archive[at : member.offset_data]
            entries.append({"type": 2, "payload": base64.b64encode(raw).decode()})
            entries.append({"type": 1, "name": member.name, "size": member.size, "payload": ""})
            at = member.offset_data + member.size
    return [*entries, {"type": 2, "payload": base64.b64encode(archive[at:]).decode()}]


def _write(path: Path, entries: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps({**entry, "position": n}) + "\n" for n, entry in enumerate(entries))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with one image of one layer, whose registry compressed it."""
    archive, layer = _archive(), "c" * 64
    diff = _sha(archive)
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [f"sha256:{diff}"]}}
    ).encode()
    id = _sha(config)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{id}"},
            "layers": [{"digest": f"sha256:{'d' * 64}", "size": 7}],
        }
    ).encode()
    _write(tmp_path / "overlay-layers" / f"{layer}.tar-split.gz", _split(archive))
    for name, content in FILES.items():
        file = tmp_path / "overlay" / layer / "diff" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    images, layers = tmp_path / "overlay-images", tmp_path / "overlay-layers"
    (images / id).mkdir(parents=True)
    key = base64.b64encode(f"sha256:{id}".encode()).decode()
    (images / id / f"={key}").write_bytes(config)
    (images / id / "manifest").write_bytes(manifest)
    facts = {
        "id": id,
        "digest": f"sha256:{_sha(manifest)}",
        "names": [f"{NAME}:1", f"{NAME}:2", "localhost:5000/x:1"],
        "layer": layer,
        "big-data-names": [f"sha256:{id}", "manifest"],
        "big-data-digests": {"manifest": f"sha256:{_sha(manifest)}"},
    }
    (images / "images.json").write_text(json.dumps([facts]))
    known = {"id": layer, "diff-digest": f"sha256:{diff}", "diff-size": len(archive)}
    (layers / "layers.json").write_text(json.dumps([known]))
    return tmp_path


def _ask(root: Path, path: str, method: str = "GET", range: str = "", **query: str) -> Plain:
    try:
        return _answer(PodmanStore(root), "docker.io", Ask(method, path, query, range))
    except protocol._NoError as no:  # pyright: ignore[reportPrivateUsage]
        return protocol.error(no.status, no.code, no.message)


def _body(plain: Plain) -> bytes:
    return plain.body if plain.pieces is None else b"".join(plain.pieces())


def _code(plain: Plain) -> str:
    return str(json.loads(plain.body)["errors"][0]["code"])


def test_an_image_is_pulled_and_every_digest_holds(root: Path) -> None:
    assert _ask(root, "/v2/").status == 200
    plain = _ask(root, f"/v2/{NAME}/manifests/1")
    assert plain.headers["Docker-Content-Digest"] == f"sha256:{_sha(plain.body)}"
    assert plain.headers["Content-Type"] == json.loads(plain.body)["mediaType"]
    manifest = json.loads(plain.body)
    for each in (manifest["config"], *manifest["layers"]):
        blob = _ask(root, f"/v2/{NAME}/blobs/{each['digest']}")
        body = _body(blob)
        assert f"sha256:{_sha(body)}" == each["digest"] == blob.headers["Docker-Content-Digest"]
        assert len(body) == each["size"]
    by_digest = _ask(root, f"/v2/{NAME}/manifests/{plain.headers['Docker-Content-Digest']}")
    assert by_digest.body == plain.body
    encoded = plain.headers["Docker-Content-Digest"].replace(":", "%3A")
    assert _ask(root, f"/v2/{NAME}/manifests/{encoded}").body == plain.body
    by_id = _ask(root, f"/v2/by-id/{manifest['config']['digest'].removeprefix('sha256:')}/manifests/latest")
    assert by_id.body == plain.body
    assert _ask(root, "/v2/acme/app/manifests/1").body == plain.body, "as a mirror of the default registry"


def test_parts_of_a_blob(root: Path) -> None:
    archive = _archive()
    path = f"/v2/{NAME}/blobs/sha256:{_sha(archive)}"
    for start, end in ((0, 0), (5, 700), (511, 513), (100_000, 2_000_000), (len(archive) - 1, len(archive) + 9)):
        part = _ask(root, path, range=f"bytes={start}-{end}")
        assert (part.status, _body(part)) == (206, archive[start : end + 1])
        assert part.headers["Content-Range"] == f"bytes {start}-{min(end, len(archive) - 1)}/{len(archive)}"
    assert _body(_ask(root, path, range="bytes=99-")) == archive[99:]
    assert _ask(root, path, range=f"bytes={len(archive)}-").status == 416
    for odd in ("bytes=9-3", "bytes=1-2,5-6", "bytes=x-", "lines=1-2", "bytes=-5"):
        assert _ask(root, path, range=odd).status == 200, odd


def test_tags_and_catalogue_come_in_pages(root: Path) -> None:
    assert json.loads(_ask(root, f"/v2/{NAME}/tags/list").body) == {"name": NAME, "tags": ["1", "2"]}
    first = _ask(root, f"/v2/{NAME}/tags/list", n="1")
    assert json.loads(first.body)["tags"] == ["1"] and 'rel="next"' in first.headers["Link"]
    assert json.loads(_ask(root, f"/v2/{NAME}/tags/list", n="1", last="1").body)["tags"] == ["2"]
    assert json.loads(_ask(root, f"/v2/{NAME}/tags/list", n="0").body)["tags"] == []
    assert _ask(root, f"/v2/{NAME}/tags/list", n="-1").status == 400
    assert json.loads(_ask(root, "/v2/_catalog").body) == {"repositories": [NAME]}


def _say_of(root: Path, subject: object) -> bytes:
    """Have the image's manifest be one that says something of another, its layer as it is here."""
    (folder,) = (each for each in (root / "overlay-images").iterdir() if each.is_dir())
    manifest = json.loads((folder / "manifest").read_bytes())
    manifest |= {"subject": subject, "annotations": {"a": "b"}}
    manifest["layers"] = [{"digest": f"sha256:{_sha(_archive())}", "size": len(_archive())}]
    raw = json.dumps(manifest).encode()
    (folder / "manifest").write_bytes(raw)
    return raw


def test_who_says_something_of_a_manifest(root: Path) -> None:
    of = f"sha256:{'e' * 64}"
    raw, path = _say_of(root, {"digest": of}), f"/v2/{NAME}/referrers/{of}"
    plain = _ask(root, path)
    kind, digest = "application/vnd.oci.image.config.v1+json", f"sha256:{_sha(raw)}"
    assert json.loads(plain.body)["manifests"] == [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": len(raw), "digest": digest,
         "artifactType": kind, "annotations": {"a": "b"}}
    ]  # fmt: skip
    assert plain.headers["Content-Type"] == "application/vnd.oci.image.index.v1+json"
    assert "OCI-Filters-Applied" not in plain.headers
    assert _ask(root, f"/v2/{NAME}/manifests/{digest}").body == raw
    assert json.loads(_ask(root, path, artifactType=kind).body) == json.loads(plain.body)
    other = _ask(root, path, artifactType="text/plain")
    assert json.loads(other.body)["manifests"] == [] and other.headers["OCI-Filters-Applied"] == "artifactType"


@pytest.mark.parametrize("name", [NAME, "no/such", f"by-id/{'0' * 64}"])
def test_of_what_nobody_says_anything_the_list_is_empty_and_never_missing(root: Path, name: str) -> None:
    plain = _ask(root, f"/v2/{name}/referrers/sha256:{'0' * 64}")
    index: dict[str, object] = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [],
    }  # fmt: skip
    assert (plain.status, json.loads(plain.body)) == (200, index)


@pytest.mark.parametrize("odd", ["x", ["x"], 7, {"digest": {}}, None])
def test_a_manifest_with_odd_parts_says_nothing(root: Path, odd: object) -> None:
    _say_of(root, odd)
    assert json.loads(_ask(root, f"/v2/{NAME}/referrers/sha256:{'0' * 64}").body)["manifests"] == []
    for text in (
        json.dumps({"config": odd, "manifests": odd}),
        json.dumps({"manifests": [odd]}),
        "[" * 100_000,
    ):
        assert leads_to(f"sha256:{_sha(text.encode())}", [text]) in ("", "{}")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/v2/{NAME}/manifests/none", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/{NAME}/manifests/sha256:{'0' * 64}", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/{NAME}/manifests/sha256:00", 400, "DIGEST_INVALID"),
        (f"/v2/{NAME}/manifests/..", 400, "TAG_INVALID"),
        (f"/v2/{NAME}/blobs/sha256:{'0' * 64}", 404, "BLOB_UNKNOWN"),
        (f"/v2/{NAME}/blobs/x", 400, "DIGEST_INVALID"),
        ("/v2/no/such/manifests/1", 404, "NAME_UNKNOWN"),
        ("/v2/no/such/tags/list", 404, "NAME_UNKNOWN"),
        (f"/v2/by-id/{'0' * 64}/manifests/latest", 404, "NAME_UNKNOWN"),
        ("/v2/by-id/..%2f..%2fetc/manifests/latest", 400, "NAME_INVALID"),
        ("/v2/../../etc/passwd/blobs/x", 400, "NAME_INVALID"),
        ("/v2/a%2f..%2fb/manifests/1", 400, "NAME_INVALID"),
        ("/v2/A/manifests/1", 400, "NAME_INVALID"),
        (f"/v2/{'a/' * 200}a/manifests/1", 400, "NAME_INVALID"),
        ("/v2/a%00b/blobs/x", 400, "NAME_INVALID"),
        ("/v2/x", 404, "NAME_UNKNOWN"),
        (f"/v2/{NAME}/referrers/sha256:00", 400, "DIGEST_INVALID"),
        (f"/v2/A/referrers/sha256:{'0' * 64}", 400, "NAME_INVALID"),
    ],
)
def test_what_is_not_there_is_said_in_the_words_of_the_specification(
    root: Path, path: str, status: int, code: str
) -> None:
    plain = _ask(root, path)
    assert (plain.status, _code(plain)) == (status, code)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_pushed(root: Path, method: str) -> None:
    plain = _ask(root, f"/v2/{NAME}/blobs/uploads/", method)
    assert (plain.status, _code(plain)) == (405, "UNSUPPORTED")


def test_who_may_not_is_told_how_to_say_who_they_are() -> None:
    plain = refusal(Unauthenticated("who?"), 401)
    assert _code(plain) == "UNAUTHORIZED" and plain.headers["WWW-Authenticate"].startswith("Basic")
    assert _code(refusal(Denied("no"), 403)) == "DENIED"


def test_no_link_is_followed_out_of_a_layer(tmp_path: Path) -> None:
    """An image says which names its layer has: none of them leads to a file of the host's."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    diff = tmp_path / "diff"
    diff.mkdir()
    (diff / "link").symlink_to(secret)
    (diff / "folder").symlink_to(tmp_path)
    for name in ("link", "folder/secret", "../secret", "a/../../secret", "/../secret", str(secret), "", "."):
        split = tmp_path / "split.gz"
        _write(split, [{"type": 1, "name": name, "size": 6, "payload": ""}])
        with pytest.raises(Unavailable):
            list(read_layer(split, diff, 0, 6))


@pytest.mark.parametrize("harm", ["shorter", "longer", "gone", "cut", "odd"])
def test_files_that_are_not_what_they_were_end_the_answer(root: Path, harm: str) -> None:
    split = next((root / "overlay-layers").glob("*.gz"))
    file = next((root / "overlay").glob("*/diff/a/large"))
    match harm:
        case "shorter":
            file.write_bytes(b"x")
        case "longer":
            file.write_bytes(file.read_bytes() + b"x")
        case "gone":
            file.unlink()
        case "cut":
            split.write_bytes(split.read_bytes()[:-200])
        case _:
            split.write_bytes(b"no gzip")
    with pytest.raises(Unavailable):
        list(read_layer(split, file.parents[1], 0, len(_archive())))


def test_sizes_and_memory(root: Path) -> None:
    split = next((root / "overlay-layers").glob("*.gz"))
    assert size_of(split) == len(_archive())
    pieces = list(read_layer(split, next((root / "overlay").glob("*/diff")), 0, len(_archive())))
    assert max(map(len, pieces)) < 4 << 20


@pytest.mark.parametrize("text", ["[]", "{", "", '[{"id": "../x"}]'])
def test_a_damaged_store_hands_nothing_out(root: Path, text: str) -> None:
    (root / "overlay-layers/layers.json").write_text(text)
    with pytest.raises(Unavailable):
        _ask(root, f"/v2/{NAME}/manifests/1")


def test_digests_lead_to_an_image_by_what_they_are_digests_of() -> None:
    image = json.dumps({"config": {"digest": f"sha256:{'a' * 64}"}})
    listed = json.dumps(
        {"manifests": [{"digest": f"sha256:{'e' * 64}"}, {"digest": f"sha256:{_sha(image.encode())}"}]}
    )
    both = [image, listed]
    assert leads_to(f"sha256:{_sha(image.encode())}", both) == "a" * 64
    assert leads_to(f"sha256:{_sha(listed.encode())}", both) == "a" * 64
    assert leads_to(f"sha256:{_sha(listed.encode())}", [listed]) == ""
    assert leads_to(f"sha256:{'a' * 64}", both) == ""
