"""Clients that ask the agent all the time while it is killed, or restarted, again and again; then what they find.

    python3 -m faults.inside.storm SECONDS kill|restart SEED     prints one JSON object

Each client sends a request until it is answered, always with the id it first had, as who was told nothing does.
One has a gear restarted and waits for each restart by its id. Afterwards: is all that was answered done, once, and
is the same answer given again?
"""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from faults.inside import disk

SOCKET = "/run/geard/geard.sock"
IMAGE = "geard/busybox-http-app"
UNITS = Path("/var/lib/containers/units")
PATIENCE = 90.0


class UnixConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(SOCKET)


class Client:
    """Keeps its connection, and asks again where that breaks."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.connection: UnixConnection | None = None
        self.broken = 0
        """connections that ended without the answer to a change (a report is cut, and joined again)"""
        self.refused: list[str] = []
        """what was answered by "not now", in its words"""
        self.answers: list[tuple[str, str, str, bytes, int, bytes]] = []
        """method, target, id, body, status, what was said: one each, in order"""

    def ask(self, method: str, target: str, body: object = None, id: str = "") -> tuple[int, bytes]:
        id = id or os.urandom(16).hex()
        sent = json.dumps(body).encode() if body is not None else b""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                status, said = self.exchange(method, target, sent, id)
            except (OSError, http.client.HTTPException):
                self.broken += method != "GET"
                self.close()
                time.sleep(0.02)
                continue
            if status == 503:
                self.refused.append(f"{method} {target}: {said.decode(errors='replace')[:300]}")
                time.sleep(0.1)
                continue
            if method != "GET":
                self.answers.append((method, target, id, sent, status, said))
            return status, said
        raise SystemExit(f"{method} {target} [{id}] was not answered in {PATIENCE:g} s")

    def exchange(self, method: str, target: str, body: bytes, id: str) -> tuple[int, bytes]:
        if self.connection is None:
            self.connection = UnixConnection("localhost")
        headers = {"X-Request-Id": id, "Accept": "application/json"}
        self.connection.request(method, target, body or None, headers)
        response = self.connection.getresponse()
        said = response.read()
        if response.will_close:
            self.close()
        return response.status, said

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def change(client: Client, name: str, number: int) -> None:
    """One request about a gear of this client's own, mostly an install that changes it."""
    match client.random.randrange(10):
        case 0:
            client.ask("DELETE", f"/container/{name}")
        case 1 | 2:
            client.ask("PUT", f"/environment/{name}", {"Variables": [{"Name": "N", "Value": str(number)}]})
        case 3:
            client.ask("PUT", f"/container/{name}/ports", {"Ports": [{"Internal": 80, "External": 0}]})
        case _:
            ports = [{"Internal": 8080, "External": 0}]
            client.ask("PUT", f"/container/{name}", {"Image": IMAGE, "Ports": ports, "Labels": {"n": str(number)}})


def restart(client: Client, name: str) -> None:
    client.ask("POST", f"/container/{name}/restart")
    id = client.answers[-1][2]
    for _ in range(20):  # cut, where the agent was stopped meanwhile
        status, said = client.ask("GET", f"/request/{id}/report")
        if status != 200 or b'{"Done"' in said or b'{"Failure"' in said:
            return


def working(client: Client, number: int, stop: threading.Event) -> None:
    for count in range(1_000_000):
        if stop.is_set():
            return
        if number == 0:
            restart(client, "storm-running")
        else:
            change(client, f"storm-{number}-{client.random.randrange(3)}", count)


def starts() -> int:
    found = subprocess.run(
        ["journalctl", "-u", "ctr-storm-running", "-o", "cat", "--no-pager"], capture_output=True, check=True
    )
    return found.stdout.count(b"Started ctr-storm-running")


def settled(client: Client) -> list[Any]:
    """The requests that have not ended, when they have had time to."""
    left: list[Any] = []
    for _ in range(300):
        found = json.loads(client.ask("GET", "/requests?all=true")[1])["Requests"]
        left = [each for each in found if each["State"] not in ("done", "failed")]
        if not left:
            break
        time.sleep(0.2)
    return left


def main(seconds: float, way: str, seed: int) -> dict[str, Any]:
    clients = [Client(seed + number) for number in range(4)]
    clients[0].ask("PUT", "/container/storm-running", {"Image": IMAGE, "Started": True, "StopTimeout": 0})
    settled(clients[0])
    before, stop, blows = starts(), threading.Event(), 0
    threads = [threading.Thread(target=working, args=(c, n, stop)) for n, c in enumerate(clients)]
    for thread in threads:
        thread.start()
    chance, end = random.Random(seed), time.monotonic() + seconds
    while time.monotonic() < end or blows < 3:
        Client(0).ask("GET", "/version")
        time.sleep(chance.uniform(0.0, 3.0))
        blow = (
            ["systemctl", "restart", "geard"] if way == "restart" else ["systemctl", "kill", "-s", "KILL", "geard"]
        )
        subprocess.run(blow, check=way == "restart")
        blows += 1
    stop.set()
    for thread in threads:
        thread.join()
    asked = [answer for client in clients for answer in client.answers]
    unsettled = settled(clients[0])
    restarts = sum(target.endswith("/restart") and status == 200 for _, target, _, _, status, _ in asked)
    teller = Client(0)
    other = [(m, t, id) for m, t, id, b, s, said in asked if teller.exchange(m, t, b, id) != (s, said)]
    result = {
        "way": way,
        "seconds": seconds,
        "blows": blows,
        "requests": len(asked),
        "failed": sum(status >= 400 for *_, status, _ in asked),
        "bugs": sum(status == 500 for *_, status, _ in asked),
        "broken": sum(client.broken for client in clients),
        "refused": sorted({said for client in clients for said in client.refused}),
        "unsettled": unsettled,
        "told otherwise": other,
        "restarts": restarts,
        "starts": starts() - before,
        "wrong": wrong(asked),
        "problems": disk.problems(at_rest=True),
    }
    for client in (*clients, teller):
        client.close()
    return result


def wrong(asked: list[tuple[str, str, str, bytes, int, bytes]]) -> list[str]:
    """What is not on disk as it was answered last, gear by gear."""
    last: dict[str, tuple[str, bytes]] = {}
    versions: dict[str, set[str]] = {}
    for method, target, _, _, status, said in asked:
        parts = target.split("/")
        if parts[1] == "container" and status == 200 and parts[3:] in ([], ["ports"]):
            last[parts[2]] = (method, said)
            if method == "PUT":
                versions.setdefault(parts[2], set()).add(json.loads(said)["Version"])
    found: list[str] = []
    for name, (method, said) in sorted(last.items()):
        unit = UNITS / name[:2] / f"ctr-{name}.service"
        if method == "DELETE":
            if unit.exists():
                found.append(f"{name} was deleted and is there")
            continue
        version = json.loads(said)["Version"]
        if not unit.exists() or f"X-ContainerRequestId={version}\n" not in unit.read_text():
            found.append(f"{name} is not at version {version}")
            continue
        folder = UNITS / name[:2] / name
        kept = {path for path in os.listdir(folder) if not path.endswith(".run") and len(path) == 22}
        found += [f"{name} has version {each}, which nobody was told of" for each in kept - versions[name]]
    return found


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]), sys.argv[2], int(sys.argv[3])), indent=1))
