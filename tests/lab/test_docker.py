"""Docker Engine beside podman: what is different, and going from one to the other."""

from __future__ import annotations

import hashlib
import json
import re
from functools import partial

import pytest
from tests.lab.conftest import APP, Shell, eventually

pytestmark = [pytest.mark.lab, pytest.mark.parametrize("engine", ["docker"], indirect=True)]

TOOLS = "geard/test-tools"
DOCKER = "docker.socket docker.service"


def containers(host: Shell) -> dict[str, str]:
    """Engine by name of container, of all there are."""
    found = {engine: host.run([engine, "ps", "-a", "--format", "{{.Names}}"]) for engine in ("podman", "docker")}
    named = {name: engine for engine, said in found.items() for name in said.stdout.split()}
    return {name: engine for name, engine in named.items() if name != "geard-githost"}


def test_a_gear_changes_its_engine_and_back(host: Shell) -> None:
    """It stops in good order where it runs, keeps port and volume, and leaves nothing behind."""
    words = ("-p", "8080:0", "-v", "/data")
    host.gear("install", APP, "mover", "--start", "--engine", "podman", *words)
    port = host.port("mover")
    host.run(["podman", "exec", "ctr-mover", "sh", "-c", "echo kept >/data/f; chown 12:34 /data/f"])
    for engine, other in (("docker", "podman"), ("podman", "docker")):
        host.gear("install", APP, "mover", "--engine", engine, *words)
        assert containers(host) == {"ctr-mover": other}, "it goes on until its next start"
        assert host.gear("exec", "mover", "--", "echo", "there").stdout == "there\n"
        host.gear("restart", "mover")
        assert containers(host) == {"ctr-mover": engine}
        ended = host.run(["cat", "/run/geard/gears/ctr-mover/ended"]).stdout
        assert "status=0 " in ended or "status=143 " in ended, "it was asked, not killed"
        seen = host.run([engine, "exec", "ctr-mover", "sh", "-c", "cat /data/f; stat -c %u:%g /data/f"]).stdout
        assert seen == "kept\n12:34\n"
        assert host.port("mover") == port
        assert "mover" in host.page(port)
    host.gear("install", APP, "mover", "--start", "--engine", "docker", *words)
    host.gear("delete", "mover")
    assert containers(host) == {}


def test_a_name_is_taken_up_again_on_another_engine(host: Shell) -> None:
    """systemd keeps the unit of a gear that a boot started, when the gear is long gone."""
    host.gear("install", APP, "again", "--start", "--engine", "podman")
    host.lab_does("reboot", "h1")
    eventually(lambda: host.status("again")["ActiveState"] == "active", 40)
    host.gear("delete", "--purge", "again")
    host.sh(f"systemctl start {DOCKER}")
    host.gear("install", APP, "again", "--start", "--engine", "docker")
    assert containers(host) == {"ctr-again": "docker"}


def test_gears_come_back_after_dockerd(host: Shell) -> None:
    host.gear("install", APP, "restarted", "--start", "--restart", "on-failure", "-p", "8080:0")
    first, port = host.status("restarted")["Pid"], host.port("restarted")
    host.run(["systemctl", "restart", "docker"])
    eventually(partial(_runs_anew, host, first), 60)
    second = host.status("restarted")["Pid"]
    host.run(["systemctl", "kill", "--signal=KILL", "docker"])
    eventually(partial(_runs_anew, host, second), 90)
    assert "restarted" in host.page(port)
    assert len(host.containers) == 1


def _runs_anew(host: Shell, before: int) -> bool:
    status = host.status("restarted")
    return bool(status["ActiveState"] == "active" and status["Pid"] != before)


def test_a_stop_while_dockerd_is_gone_stops_the_program(host: Shell) -> None:
    host.gear("install", TOOLS, "orphan", "--start")
    program = host.run(["cat", "/run/geard/gears/ctr-orphan/pid"]).stdout
    host.sh(f"systemctl mask --runtime -q {DOCKER}; systemctl stop docker.socket; systemctl kill -s KILL docker")
    try:
        eventually(lambda: host.run(["pgrep", "-x", "dockerd"], check=False).stdout == "")
        host.run(["test", "-d", f"/proc/{program}"])
        host.gear("stop", "orphan")
        eventually(lambda: host.run(["test", "-d", f"/proc/{program}"], check=False).returncode != 0)
    finally:
        host.sh(
            f"systemctl unmask --runtime -q {DOCKER}; systemctl reset-failed {DOCKER}; systemctl start {DOCKER}"
        )
    host.gear("start", "orphan")
    assert len(host.containers) == 1


def test_status_says_what_docker_does_not_do(host: Shell) -> None:
    host.gear("install", TOOLS, "bare", "--start")
    facts = {fact["Label"]: fact["Text"] for fact in host.status("bare")["Facts"]}
    assert "root inside is root outside" in facts["Users"]
    assert host.sh("stat -c %u /proc/$(cat /run/geard/gears/ctr-bare/pid)").stdout == "0\n"
    assert "docker 2" in host.gear("version", "localhost").stdout
    assert "docker" in host.gear("setup", "--check").stdout


LAYERS = """
import random, sys
for name in sys.argv[1:]:
    open(f"/root/drawn/{name}", "wb").write(random.Random(name).randbytes(20_000_000))
"""


def test_bars_of_several_pulls_from_a_registry(host: Shell) -> None:
    """What dockerd really says of layers that come, for each image apart; what is here already counts not."""
    names = [f"h1:5000/drawn/{name}" for name in ("one", "two")]
    host.run(["systemctl", "start", "docker-registry"])
    try:
        eventually(lambda: host.run(["curl", "-sf", "http://h1:5000/v2/"], check=False).returncode == 0, 60)
        host.run(["mkdir", "-p", "/root/drawn"])
        for name in names:
            layers = [f"{name[-3:]}-{number}" for number in range(3)]
            host.run(["python3", "-c", LAYERS, *layers])
            lines = f"FROM {TOOLS}\n" + "".join(f"COPY {each} /\n" for each in layers)
            host.run(["docker", "build", "-q", "-t", name, "-f", "-", "/root/drawn"], stdin=lines)
            host.sh(f"docker push -q {name} && docker rmi {name} && rm /root/drawn/*")
        command = f"gear pull {' '.join(names)} h1:5000/drawn/none"
        said = host.run(["script", "-qec", f"stty cols 100 rows 30; {command}", "/dev/null"], check=False)
        for name in names:
            bars = re.findall(rf"{name}:latest  \[(=*)>? *\] ([0-9.]+) ..? / (\S+) MB\r", said.stdout)
            assert bars and {total for _, _, total in bars} <= {"20", "40", "60"}, said.stdout
            for size in ("20", "40", "60"):  # where the machine is quick, the last is never drawn
                lengths = [len(drawn) for drawn, _, total in bars if total == size]
                assert lengths == sorted(lengths), "it never goes back"
            assert f"{name}:latest is sha256:" in said.stdout
        assert said.returncode == 5 and "there is no image h1:5000/drawn/none:latest" in said.stdout
        assert host.run(["docker", "image", "inspect", *names], check=False).returncode == 0
    finally:
        host.sh(f"docker rmi {' '.join(names)}; rm -rf /root/drawn; systemctl stop docker-registry", check=False)


def test_gears_on_two_engines_are_apart(host: Shell) -> None:
    for name, engine in (("on-podman", "podman"), ("on-docker", "docker")):
        host.gear("install", APP, name, "--start", "--engine", engine, "-p", "8080:0")
        host.gear("install", TOOLS, f"look-{engine}", "--start", "--engine", engine)
    for prober, target in (("look-podman", "on-docker"), ("look-docker", "on-podman")):
        engine = prober.removeprefix("look-")
        facts = {fact["Label"]: fact["Text"] for fact in host.status(target)["Facts"]}
        ipv4, ipv6 = facts["Address"].partition(",")[0].split()

        def page(url: str, engine: str = engine, prober: str = prober) -> str:
            words = [engine, "exec", f"ctr-{prober}", "wget", "-T2", "-qO-", url]
            return host.run(words, check=False).stdout

        assert target in page(f"http://{host.address}:{host.port(target)}/"), "a published port is a door"
        assert page(f"http://{ipv4}:8080/") == ""
        assert page(f"http://[{ipv6}]:8080/") == ""


def test_what_a_job_uses_is_counted(host: Shell) -> None:
    """Its container is no child of its unit: both are in a slice of their own, and nothing of that stays."""
    fill = "x=$(head -c 30000000 /dev/zero | tr '\\0' x); n=0; while [ $n -lt 300000 ]; do n=$((n + 1)); done"
    host.gear("run", "--name", "counted", TOOLS, "--", "sh", "-c", fill)
    used = json.loads(host.gear("job", "show", "-o", "json", "counted").stdout)[0]["Result"]
    assert used["PeakMemory"] > 30_000_000
    assert used["CpuSeconds"] > 0.1
    slice = f"container-job-{hashlib.sha256(b'counted').hexdigest()[:16]}.slice"
    eventually(lambda: not host.sh(f"find /sys/fs/cgroup -name '{slice}'").stdout, 60)


def test_a_job_ends_with_its_unit_though_dockerd_is_gone(host: Shell) -> None:
    host.gear("run", "-d", "--name", "orphan", TOOLS, "sleep", "1000")
    find = "docker container inspect --format '{{.State.Pid}}' job-orphan"
    eventually(lambda: int(host.sh(find, check=False).stdout.strip() or 0), 60)
    program = int(host.sh(find).stdout)
    host.sh(f"systemctl mask --runtime -q {DOCKER}; systemctl stop docker.socket; systemctl kill -s KILL docker")
    try:
        eventually(lambda: host.run(["pgrep", "-x", "dockerd"], check=False).stdout == "", 60)
        host.sh("systemctl kill --kill-whom=main -s KILL job-orphan.service", check=False)
        eventually(lambda: host.run(["test", "-d", f"/proc/{program}"], check=False).returncode != 0, 60)
    finally:
        host.sh(
            f"systemctl unmask --runtime -q {DOCKER}; systemctl reset-failed {DOCKER}; systemctl start {DOCKER}"
        )
    host.sh("docker rm --force job-orphan; rm -rf /run/geard/jobs/orphan", check=False)


def test_ports_that_are_published_no_more_are_shut(host: Shell) -> None:
    def doors() -> str:
        return host.run(["nft", "list", "set", "inet", "geard", "published"]).stdout

    host.gear("install", APP, "door", "--start", "-p", "8080:4321")
    assert "tcp . 4321" in doors()
    host.run(["systemctl", "reload", "geard-host"])
    assert "tcp . 4321" in doors(), "as the reservations have it"
    host.gear("stop", "door")
    assert "tcp . 4321" not in doors()
