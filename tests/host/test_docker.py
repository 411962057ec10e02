"""What is said to Docker Engine and how its answers are read, with a socket in its place."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import threading
from collections.abc import Generator
from pathlib import Path
from typing import cast

import pytest

from geard.containers.unit_hooks import docker as hook
from geard.failures import Unavailable
from geard.host.engine import ExecSpec, docker
from geard.host.engine.docker import Docker

ID = "6" * 64
ANSWER: dict[str, object] = {
    "Id": f"sha256:{ID}",
    "RepoTags": ["cafe:latest"],
    "RepoDigests": ["h1:5000/cafe@sha256:" + "7" * 64],
    "Config": {"ExposedPorts": {"8080/tcp": {}}, "Volumes": {"/data": {}}, "Entrypoint": None, "Cmd": ["/serve"]},
}


class Engine(socketserver.ThreadingUnixStreamServer):
    """Answers each question with what it has at that path; 404 else."""

    def __init__(self, path: str) -> None:
        self.has: dict[str, bytes] = {}
        self.asked: list[str] = []
        super().__init__(path, _Answering)


class _Answering(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        engine = cast("Engine", self.server)
        path = self.rfile.readline().decode().split()[1]
        while self.rfile.readline().strip():
            pass
        engine.asked.append(path)
        body = engine.has.get(path)
        status = b"404 Not Found" if body is None else b"200 OK"
        self.wfile.write(b"HTTP/1.0 " + status + b"\r\nServer: test\r\n\r\n" + (body or b'{"message":"no such"}'))


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Engine]:
    path = str(tmp_path / "docker.sock")
    for module in (docker, hook):
        monkeypatch.setattr(module, "SOCKET", path)
    with Engine(path) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_a_name_is_never_taken_for_the_beginning_of_an_id(engine: Engine) -> None:
    """The engine completes `cafe` to the image whose id begins so."""
    engine.has["/images/cafe:latest/json"] = json.dumps(ANSWER).encode()
    found = await Docker().image("cafe")
    assert found is not None
    assert (found.id, found.digest, found.ports) == (ID, "sha256:" + "7" * 64, ((8080, "tcp"),))
    assert (found.volumes, found.command) == (("/data",), ("/serve",))
    assert await Docker().image("deed") is None
    assert engine.asked == ["/images/cafe:latest/json", "/images/deed:latest/json"]


async def test_an_engine_that_is_not_there_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "SOCKET", str(tmp_path / "nowhere"))
    with pytest.raises(Unavailable, match="does not answer") as caught:
        await Docker().image("cafe")
    assert "docker.io" in caught.value.hint


def test_no_value_of_a_variable_stands_on_a_sessions_command_line() -> None:
    argv = Docker().exec_argv(ExecSpec("ctr-web", ("cat", "--x"), env_file="/proc/self/fd/3", env_names=("LONG",)))
    facts = json.loads(argv[4])
    assert argv[3] == "ctr-web"
    assert argv[5:] == ["/proc/self/fd/3", "LONG"]
    assert facts["Cmd"] == ["cat", "--x"]


def test_what_a_gear_writes_is_passed_on_by_stream(engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    frames = [(1, b"one\n"), (2, b"two\n"), (1, b"x" * 100_000 + b"\n"), (1, b"")]
    path = "/containers/ctr-web/attach?stream=1&stdout=1&stderr=1"
    engine.has[path] = b"".join(bytes([fd, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for fd, data in frames)
    hook._pass_on(hook._attach("ctr-web"))  # pyright: ignore[reportPrivateUsage]
    out, errors = capfd.readouterr()
    assert out == "one\n" + "x" * 100_000 + "\n"
    assert errors == "two\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ('exec: "/no": stat /no: no such file or directory: unknown', 127),
        ('exec: "no": executable file not found in $PATH: unknown', 127),
        ('exec: "/etc/passwd": permission denied: unknown', 126),
        ("driver failed programming external connectivity: port is already allocated", 125),
        ("error mounting /gone: no such file or directory", 125),
    ],
)
def test_why_a_program_could_not_be_started(words: str, status: int) -> None:
    assert hook._could_not_start(words) == status  # pyright: ignore[reportPrivateUsage]


async def test_an_engine_that_is_not_there_or_says_nothing_is_told_with_its_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "docker.sock")
    monkeypatch.setattr(docker, "SOCKET", path)
    with pytest.raises(Unavailable, match=f"at {path}: No such file or directory"):
        await Docker().image("cafe")
    monkeypatch.setattr(docker, "ANSWER_SECONDS", 0.05)
    with socketserver.UnixStreamServer(path, _Answering), pytest.raises(Unavailable, match=r"within 0\.05 s"):
        await Docker().image("cafe")


def test_what_the_next_engine_would_say_of_a_programs_end_is_not_taken(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends what an engine before it left, and says 0 where a program ends well by that."""
    engine.has["/containers/ctr-web/wait"] = b'{"StatusCode":0}'
    with subprocess.Popen(["sleep", "100"]) as process:
        dockerd = os.pidfd_open(process.pid)
        try:
            assert hook._wait("ctr-web", dockerd) == 0  # pyright: ignore[reportPrivateUsage]
            path = str(tmp_path / "queue.sock")  # as that of a docker.socket, where no engine is at it
            monkeypatch.setattr(hook, "SOCKET", path)
            with socketserver.UnixStreamServer(path, _Answering):
                threading.Timer(0.05, process.kill).start()
                assert hook._wait("ctr-web", dockerd) is None  # pyright: ignore[reportPrivateUsage]
        finally:
            process.kill()
            os.close(dockerd)
