"""The requests that are cut short, and what stands before each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from faults.inside.gears import Ask

APP = "geard/busybox-http-app"
TOOLS = "geard/test-tools"


@dataclass(frozen=True)
class Scene:
    name: str
    ask: Ask
    before: tuple[Ask, ...] = ()
    running: bool = False
    """a gear really starts or stops in it: systemd and podman are asked, not the disk alone"""
    runs_after: tuple[str, ...] = ()
    """the gears that run when it is done"""
    job: str = ""
    """it is of a job: the one that has ended, and once, when it is done"""


def install(name: str, *words: str, image: str = APP, **body: Any) -> Ask:
    return Ask(("install", image, name, *words), "PUT", f"/container/{name}", {"Image": image, **body})


def delete(name: str, *, purge: bool = False) -> Ask:
    return Ask(
        ("delete", *(["--purge"] if purge else []), name), "DELETE", f"/container/{name}" + "?purge=1" * purge
    )


def _ports(*pairs: tuple[int, int]) -> list[dict[str, int]]:
    return [{"Internal": inside, "External": outside} for inside, outside in pairs]


def _links(*links: tuple[int, str, int]) -> list[dict[str, int | str]]:
    return [{"FromPort": place, "ToHost": host, "ToPort": port} for place, host, port in links]


def _variables(**given: str) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in given.items()]


OTHER = install("other", "-p", "8080:4100", Ports=_ports((8080, 4100)))
"""a neighbour: what it has must stay its own. The agent is asked for it once more before anything is counted, and
so knows the image."""

FIRST = install("web", "-p", "8080:4200", Ports=_ports((8080, 4200)))
FULL = install(
    "web", "-p", "8080:0,9000:4500", "-v", "/data", "--memory", "64m", "-n", "81:localhost:80", "A=b", "C=d e",
    NetworkLinks=_links((81, "localhost", 80)), Ports=_ports((8080, 0), (9000, 4500)),
    Environment={"Variables": _variables(A="b", C="d e")},
    VolumeConfig={"Volumes": [{"Path": "/data"}]}, Limits={"Memory": 64 << 20},
)  # fmt: skip
OTHER_PORT = install("web", "-p", "8080:4300", Ports=_ports((8080, 4300)))
CHANGED = install(
    "web", "-p", "8080:4200,9090:0", "--cpus", "0.5", "--slice", "container", "B=c", "--", "/bin/serve-http",
    Ports=_ports((8080, 4200), (9090, 0)), Limits={"Cpus": 0.5}, SystemdSlice="container",
    Environment={"Variables": _variables(B="c")}, Command=["/bin/serve-http"],
)  # fmt: skip
QUICK = ("--stop-timeout", "1")
RUNNING = install(
    "web", "--start", *QUICK, "-p", "8080:4200", Started=True, StopTimeout=1, Ports=_ports((8080, 4200))
)
STOPPED = install("web", *QUICK, "-p", "8080:4200", StopTimeout=1, Ports=_ports((8080, 4200)))
RENEWED = install(
    "web", "--start", *QUICK, "-p", "8080:4300", "N=1", Started=True, StopTimeout=1, Ports=_ports((8080, 4300)),
    Environment={"Variables": _variables(N="1")},
)  # fmt: skip
A_VERSION = "A" * 22
NAMED = Ask(("--request-id", A_VERSION, *FIRST.words), FIRST.method, FIRST.path, FIRST.body)
UPDATE = Ask(
    ("update", "web", "-p", "8080:4300", "N=2"), "PATCH", "/container/web",
    {"Ports": _ports((8080, 4300)), "Environment": {"Variables": _variables(N="2")}},
)  # fmt: skip
OTHER_IMAGE = Ask(("update", "web", "--image", TOOLS), "PATCH", "/container/web", {"Image": TOOLS})
ROLL_BACK = Ask(("rollback", "web", A_VERSION), "POST", "/container/web/rollback", {"Version": A_VERSION})
LINK = Ask(
    ("link", "-n", "81:localhost:80,82:192.0.2.1:80", "web"), "PUT", "/container/web/links",
    {"NetworkLinks": _links((81, "localhost", 80), (82, "192.0.2.1", 80))},
)  # fmt: skip
UNLINK = Ask(("link", "-n", "none", "web"), "PUT", "/container/web/links", {"NetworkLinks": []})
PORT = Ask(
    ("port", "web", "8080:4300", "9090:4500"), "PUT", "/container/web/ports",
    {"Ports": _ports((8080, 4300), (9090, 4500))},
)  # fmt: skip
LIMIT = Ask(
    ("limit", "web", "--memory", "96m", "--pids", "77"), "PATCH", "/container/web/limits",
    {"Memory": 96 << 20, "Pids": 77},
)  # fmt: skip
QUOTA = install(
    "web", "--start", *QUICK, "--quota", "8m", "-v", "/data", "-p", "8080:4200", Started=True, StopTimeout=1,
    Limits={"Quota": 8 << 20}, VolumeConfig={"Volumes": [{"Path": "/data"}]}, Ports=_ports((8080, 4200)),
)  # fmt: skip
MORE_DISK = Ask(("limit", "web", "--quota", "16m"), "PATCH", "/container/web/limits", {"Quota": 16 << 20})
SET = Ask(("set-env", "web", "A=1", "B=2"), "PATCH", "/environment/web", {"Variables": _variables(A="1", B="2")})
UNSET = Ask(("set-env", "web", "--remove", "A"), "PATCH", "/environment/web", {"Remove": ["A"]})
RESET = Ask(("set-env", "web", "--reset", "Z=1"), "PUT", "/environment/web", {"Variables": _variables(Z="1")})
RAN = "/srv/geard-faults-ran"
"""a folder in which a job's program leaves a line for each time it ran"""
SCRIPT = "echo ran >>/ran/times; echo done; exit 4"
JOB = Ask(
    ("--request-id", A_VERSION, "run", "-d", "--name", "once", "-v", f"{RAN}:/ran", TOOLS, "--",
     "sh", "-c", SCRIPT),
    "POST", "/jobs",
    {"Id": "once", "Image": TOOLS, "Command": ["sh", "-c", SCRIPT],
     "VolumeConfig": {"VolumeMounts": [{"Path": RAN, "HostPath": "/ran"}]}},
    A_VERSION,
)  # fmt: skip
FORGET = Ask(("delete-env", "web"), "DELETE", "/environment/web")


def _started(verb: str) -> Ask:
    if verb == "restart":
        return Ask(("restart", "web"), "POST", "/container/web/restart")
    return Ask((verb, "web"), "PUT", "/container/web/started" if verb == "start" else "/container/web/stopped")


SCENES = (
    Scene("install", install("web")),
    Scene("install-full", FULL),
    Scene("install-ports", FIRST),
    Scene("re-install", CHANGED, (FULL,)),
    Scene("other-port", OTHER_PORT, (FIRST,)),
    Scene("port", PORT, (FIRST,)),
    Scene("limit", LIMIT, (FIRST,)),
    Scene("same-again", FULL, (FULL,)),
    Scene("update", UPDATE, (FULL,)),
    Scene("update-image", OTHER_IMAGE, (FULL,)),
    Scene("rollback", ROLL_BACK, (NAMED, CHANGED)),
    Scene("delete", delete("web"), (FULL,)),
    Scene("delete-purge", delete("web", purge=True), (FULL,)),
    Scene("set-env", SET, (FIRST,)),
    Scene("unset-env", UNSET, (FIRST, SET)),
    Scene("reset-env", RESET, (FIRST, SET)),
    Scene("delete-env", FORGET, (FIRST, SET)),
    Scene("link", LINK, (FIRST,)),
    Scene("unlink", UNLINK, (FIRST, LINK)),
    Scene("port-running", PORT, (RUNNING,), running=True, runs_after=("web",)),
    Scene("limit-running", LIMIT, (RUNNING,), running=True, runs_after=("web",)),
    Scene("link-running", LINK, (RUNNING,), running=True, runs_after=("web",)),
    Scene("install-start", RUNNING, running=True, runs_after=("web",)),
    Scene("re-install-start", RENEWED, (RUNNING,), running=True, runs_after=("web",)),
    Scene("update-running", UPDATE, (RUNNING,), running=True, runs_after=("web",)),
    Scene("start", _started("start"), (STOPPED,), running=True, runs_after=("web",)),
    Scene("stop", _started("stop"), (RUNNING,), running=True),
    Scene("restart", _started("restart"), (RUNNING,), running=True, runs_after=("web",)),
    Scene("quota-start", QUOTA, running=True, runs_after=("web",)),
    Scene("quota-limit", MORE_DISK, (QUOTA,), running=True, runs_after=("web",)),
    Scene("quota-purge", delete("web", purge=True), (QUOTA,), running=True),
    Scene("job", JOB, job="once"),
    Scene("delete-running", delete("web"), (RUNNING,), running=True),
)
