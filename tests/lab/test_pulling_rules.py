"""/v2/ by the pull part of the OCI distribution specification's conformance rules, at the agent's own door."""

from __future__ import annotations

import hashlib
import json
import shlex

import pytest
from tests.lab.conftest import Shell

pytestmark = pytest.mark.lab

NAME = "docker.io/geard/test-tools"
NONE = "sha256:" + "0" * 64
INDEX = "application/vnd.oci.image.index.v1+json"
REFERRING = """
import hashlib, json, pathlib, sys
folder, of = pathlib.Path(sys.argv[1]), sys.argv[2]
index = json.loads((folder / "index.json").read_text())
entry = index["manifests"][0]
manifest = json.loads((folder / "blobs/sha256" / entry["digest"][7:]).read_text())
manifest |= {"artifactType": "text/plain", "annotations": {"a": "b"}}
manifest["subject"] = {"mediaType": manifest["mediaType"], "digest": of, "size": 1}
raw = json.dumps(manifest).encode()
entry |= {"digest": "sha256:" + hashlib.sha256(raw).hexdigest(), "size": len(raw)}
(folder / "blobs/sha256" / entry["digest"][7:]).write_bytes(raw)
(folder / "index.json").write_text(json.dumps(index))
"""


def ask(h1: Shell, path: str, *options: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers, body; as root on loopback."""
    into = "/dev/null" if "--head" in options else "/root/body"  # where curl puts the head as well
    words = ["curl", "-sS", "-D", "/root/head", "-o", into, *options, f"http://localhost:43273/v2/{path}"]
    said = h1.output(["sh", "-c", f": >/root/body; {shlex.join(words)} && cat /root/head && cat /root/body"])
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, body


def sha(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def test_manifests_by_tag_and_digest(h1: Shell) -> None:
    status, head, manifest = ask(h1, f"{NAME}/manifests/latest")
    assert status == 200 and head["docker-content-digest"] == sha(manifest)
    assert head["content-type"] == json.loads(manifest)["mediaType"]
    for reference in ("latest", sha(manifest)):
        status, head, body = ask(h1, f"{NAME}/manifests/{reference}", "--head")
        assert (status, body) == (200, b"") and head["content-length"] == str(len(manifest))
        assert head["docker-content-digest"] == sha(manifest)
    assert ask(h1, f"{NAME}/manifests/{sha(manifest)}")[2] == manifest


def test_blobs_and_their_parts(h1: Shell) -> None:
    manifest = json.loads(ask(h1, f"{NAME}/manifests/latest")[2])
    config, layer = manifest["config"], min(manifest["layers"], key=lambda each: int(each["size"]))
    for each in (config, layer):
        path = f"{NAME}/blobs/{each['digest']}"
        status, head, body = ask(h1, path)
        assert (status, sha(body), len(body)) == (200, each["digest"], each["size"])
        assert head["docker-content-digest"] == each["digest"]
        status, head, nothing = ask(h1, path, "--head")
        assert (status, head["content-length"], nothing) == (200, str(each["size"]), b"")
        status, head, part = ask(h1, path, "-H", "Range: bytes=5-20")
        assert (status, part) == (206, body[5:21])
        assert head["content-range"] == f"bytes 5-20/{each['size']}"
        assert ask(h1, path, "-H", f"Range: bytes={each['size']}-")[0] == 416


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"{NAME}/manifests/none", 404, "MANIFEST_UNKNOWN"),
        (f"{NAME}/manifests/{NONE}", 404, "MANIFEST_UNKNOWN"),
        (f"{NAME}/blobs/{NONE}", 404, "BLOB_UNKNOWN"),
        ("no/such/tags/list", 404, "NAME_UNKNOWN"),
        (f"{NAME}/blobs/sha256:totallywrong", 400, "DIGEST_INVALID"),
        (f"{NAME}/referrers/sha256:totallywrong", 400, "DIGEST_INVALID"),
    ],
)
def test_errors_have_the_body_of_the_specification(h1: Shell, path: str, status: int, code: str) -> None:
    found, head, body = ask(h1, path)
    (error,) = json.loads(body)["errors"]
    assert (found, error["code"]) == (status, code) and error["message"]
    assert head["content-type"] == "application/json"
    found, _, body = ask(h1, path, "--head")
    assert (found, body) == (status, b"")


def test_tags_in_pages(h1: Shell) -> None:
    names = [f"localhost/paged:{tag}" for tag in ("a", "b", "c")]
    try:
        h1.run(["podman", "tag", NAME, *names])
        assert json.loads(ask(h1, "localhost/paged/tags/list")[2]) == {
            "name": "localhost/paged", "tags": ["a", "b", "c"],
        }  # fmt: skip
        status, head, body = ask(h1, "localhost/paged/tags/list?n=2")
        assert (status, json.loads(body)["tags"]) == (200, ["a", "b"]) and 'rel="next"' in head["link"]
        assert json.loads(ask(h1, "localhost/paged/tags/list?n=2&last=b")[2])["tags"] == ["c"]
        assert json.loads(ask(h1, "localhost/paged/tags/list?n=0")[2])["tags"] == []
    finally:
        h1.run(["podman", "untag", NAME, *names], check=False)


def test_pages_of_tags_lead_to_all_of_them(h1: Shell) -> None:
    """By the links alone, as a client goes."""
    names = [f"localhost/linked:{tag}" for tag in ("A", "b", "a.1", "a-1", "1")]
    try:
        h1.run(["podman", "tag", NAME, *names])
        path, seen = "localhost/linked/tags/list?n=2", list[str]()
        for count in (2, 2, 1):
            _, head, body = ask(h1, path)
            seen += (tags := json.loads(body)["tags"])
            assert len(tags) == count and ("link" in head) == (count == 2)
            path = head.get("link", "").partition("</v2/")[2].partition(">")[0]
        assert seen == sorted(name.partition(":")[2] for name in names)
        assert json.loads(ask(h1, "localhost/linked/tags/list?last=a.1")[2])["tags"] == ["b"]
        status, head, body = ask(h1, "localhost/linked/tags/list?n=0")
        assert (status, json.loads(body)["tags"]) == (200, []) and "link" not in head
    finally:
        h1.run(["podman", "untag", NAME, *names], check=False)


def test_referrers_are_an_index_and_never_missing(h1: Shell) -> None:
    """Empty for what nobody refers to, whether it is here or not: 404 would mean that it is no registry's word."""
    digest = sha(ask(h1, f"{NAME}/manifests/latest")[2])
    for path in (f"{NAME}/referrers/{digest}", f"{NAME}/referrers/{NONE}", f"no/such/referrers/{NONE}"):
        status, head, body = ask(h1, path)
        assert (status, head["content-type"]) == (200, INDEX)
        assert json.loads(body) == {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
        assert "oci-filters-applied" not in head
    _, head, _ = ask(h1, f"{NAME}/referrers/{digest}?artifactType=text/plain")
    assert head["oci-filters-applied"] == "artifactType"


def test_what_refers_to_an_image_is_found_and_had(h1: Shell) -> None:
    """An image whose manifest names another as its subject, brought by skopeo with every byte."""
    of = sha(ask(h1, f"{NAME}/manifests/latest")[2])
    at, name = "/root/referring", "localhost/referring"
    h1.sh(
        f"rm -rf {at}; skopeo copy -q --dest-oci-accept-uncompressed-layers containers-storage:{NAME} oci:{at}:1"
    )
    try:
        h1.run(["python3", "-c", REFERRING, at, of])
        h1.run(["skopeo", "copy", "-q", f"oci:{at}:1", f"containers-storage:{name}:1"])
        (found,) = json.loads(ask(h1, f"{name}/referrers/{of}")[2])["manifests"]
        assert (found["artifactType"], found["annotations"]) == ("text/plain", {"a": "b"})
        raw = ask(h1, f"{name}/manifests/{found['digest']}")[2]
        assert (sha(raw), len(raw)) == (found["digest"], found["size"])
        assert json.loads(raw)["subject"]["digest"] == of
        for kind, count in (("text/plain", 1), ("text/html", 0)):
            body = ask(h1, f"{name}/referrers/{of}?artifactType={kind}")[2]
            assert len(json.loads(body)["manifests"]) == count
    finally:
        h1.sh(f"rm -rf {at}; podman untag {name}:1", check=False)


def test_nothing_is_pushed(h1: Shell) -> None:
    assert ask(h1, f"{NAME}/blobs/uploads/", "-X", "POST")[0] == 405
    assert ask(h1, f"{NAME}/manifests/latest", "-X", "DELETE")[0] == 405


def test_skopeo_as_a_plain_client(h1: Shell) -> None:
    """By TLS, with a token; it checks every digest itself."""
    token = h1.gear("token", "create", "plain", "--scope", "pull").stdout.split()[-1]
    at = f"docker://localhost:43273/{NAME}:latest"
    plain = ["--tls-verify=false", "--creds", f"any:{token}"]
    try:
        shown = json.loads(h1.run(["skopeo", "inspect", *plain, at]).stdout)
        assert shown["RepoTags"] == ["latest"] and shown["Architecture"]
        h1.sh("rm -rf /root/copied")
        h1.run(["skopeo", "copy", "-q", "--src-tls-verify=false", "--src-creds", f"any:{token}", at,
                  "dir:/root/copied"])  # fmt: skip
        copied = json.loads(h1.output(["cat", "/root/copied/manifest.json"]))
        id = h1.run(["podman", "image", "inspect", NAME, "--format", "{{.Id}}"]).stdout.strip()
        assert copied["config"]["digest"] == f"sha256:{id}"
        wrong = h1.run(["skopeo", "inspect", *plain, f"docker://localhost:43273/{NAME}:none"], check=False)
        assert wrong.returncode != 0 and "manifest unknown" in wrong.stderr.lower()
    finally:
        h1.sh("gear token revoke plain; rm -rf /root/copied /root/head /root/body", check=False)
