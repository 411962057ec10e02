"""Where descriptors come from, and the file that is written beside them."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
from tests.fakes.terminal import Terminal

from geard.deployments import files
from geard.deployments.descriptor import Descriptor, parse_descriptor
from geard.failures import Invalid, Unavailable

SIMPLE = Path("tests/deployments/fixtures/simple_deploy.json").absolute()


@contextmanager
def served(context: ssl.SSLContext | None = None, wait: float = 0) -> Generator[str]:
    """An http(s) URL; `/app.json` is there, nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(wait)
            found = self.path.startswith("/app.json")
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(SIMPLE.read_bytes() if found else b"nothing")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_url_is_read_as_the_file_is() -> None:
    with served() as url:
        found = files.load(f"{url}/app.json?x=1")
        assert found.descriptor.containers == files.load(str(SIMPLE)).descriptor.containers
        assert (found.descriptor.name, found.state) == ("app", Path("app.instances.json"))
        with pytest.raises(Unavailable, match="it answers 404"):
            files.load(f"{url}/other.json")
    assert files.load(f"file://{SIMPLE}").descriptor.name == "simple_deploy"
    for url in ("ftp://a/b", "gopher://x/"):
        with pytest.raises(Invalid, match=r"cannot be read"):
            files.load(url)


def test_a_server_that_is_slow_is_waited_for_no_longer_than_asked() -> None:
    with served(wait=1) as url, pytest.raises(Unavailable, match="timed out"):
        files.load(f"{url}/app.json", seconds=0.1)


def test_a_certificate_nobody_vouches_for_is_refused_unless_told() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.tempfile() as pem:
        context.load_cert_chain(pem)
    with served(context) as url:
        with pytest.raises(Unavailable, match="certificate verify failed"):
            files.load(f"{url}/app.json")
        assert files.load(f"{url}/app.json", insecure=True).descriptor.name == "app"


@pytest.mark.parametrize(
    ("file", "state", "name"),
    [
        ("app.json", "app.instances.json", "app"),
        ("app.yaml", "app.instances.json", "app"),
        ("app.v2.json", "app.v2.instances.json", "app.v2"),
        ("app.instances.json", "app.instances.json", "app"),
        ("app.json.20140402-120000", "app.instances.json", "app"),
        ("my app!.json", "my app!.instances.json", "my-app"),
    ],
)
def test_the_instances_file_has_a_lasting_name_beside_the_descriptor(
    folder: Path, file: str, state: str, name: str
) -> None:
    (folder / file).write_text(SIMPLE.read_text())
    found = files.load(file)
    assert (found.state.name, found.descriptor.name) == (state, name)


def test_a_name_that_cannot_be_one_says_what_to_do(folder: Path) -> None:
    (folder / "x.json").write_text(SIMPLE.read_text())
    with pytest.raises(Invalid) as failure:
        files.load("x.json")
    assert '"Name" in the descriptor' in failure.value.hint


def test_another_deployments_instances_file_is_not_taken(folder: Path) -> None:
    (folder / "app.json").write_text('{"Name": "one"}')
    files.save(folder / "app.instances.json", Descriptor(name="two"))
    with pytest.raises(Invalid, match=r"is of the deployment two, and app.json is one"):
        files.load("app.json")


def test_what_is_written_is_read_back(folder: Path) -> None:
    text = (SIMPLE.parent / "mongo_deploy_existing.json").read_text()
    given = parse_descriptor(text, "given")
    files.save(folder / "x.json", given)
    assert parse_descriptor((folder / "x.json").read_text(), "x") == given
    values = json.loads((folder / "x.json").read_text())
    assert values["Instances"] == json.loads(text)["Instances"]
    assert [path.name for path in folder.iterdir()] == ["x.json"]


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_done(gear: Terminal, folder: Path) -> None:
    (folder / "app.json").write_text(SIMPLE.read_text())
    before = gear.tree()
    said = gear("deploy", "app.json", "--state", "/proc/nowhere/x.json")
    assert said.code == 1
    assert "cannot write the instances file /proc/nowhere/x.json" in said.err
    assert gear.tree() == before


def test_on_this_machine_without_a_host(gear: Terminal, folder: Path) -> None:
    """In the process for root, by the agent's socket for others."""
    (folder / "app.json").write_text(SIMPLE.read_text().replace("geard/busybox-http-app", "geard/sample"))
    assert gear("plan", "app.json").code == 2
    gear.ok("deploy", "app.json")
    assert json.loads((folder / "app.instances.json").read_text())["Instances"][0]["On"] == "local"
    assert "Nothing to change" in gear.ok("deploy", "app.json")
    assert gear.ok("status", "--with", "app.json", "-o", "name").split() == ["web-1", "web-2"]
    gear.ok("undeploy", "app.json")
    assert gear.ok("list", "-a", "-q") == ""


def test_on_a_terminal_the_lines_of_a_run_are_drawn_again(gear: Terminal, folder: Path) -> None:
    (folder / "app.json").write_text(SIMPLE.read_text().replace("geard/busybox-http-app", "geard/sample"))
    said = gear("deploy", "app.json", terminal=True)
    assert said.code == 0, said
    assert "\033[2A" in said.err
    last = said.err.split("\033[2A")[-1].replace("\033[2K", "").splitlines()
    assert [line.split()[0] for line in last] == ["web-1", "web-2"]
    assert all("installed" in line and "started" in line for line in last)
