"""A lab's network: a namespace with a bridge, one for each host, a veth pair between; no uplink, no route.

The bridge's namespace is <lab>-net, a host's is <lab>-<host>: `ip netns exec lab-net curl
http://10.77.0.11:8080/` sees a host as another machine does. The addresses of different labs differ, although
nothing could mix them up.
"""

import shutil
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from lab.machine import attempt, run, write

NAMESPACES = Path("/run/netns")
NAMES = Path("/etc/netns")
"""`ip netns exec` shows the files of NAMES/<namespace> in /etc."""


@dataclass(frozen=True)
class Network:
    lab: str
    number: int
    """Which subnet: 0 to 255, one for each lab of this machine."""

    @property
    def bridge_namespace(self) -> str:
        return f"{self.lab}-net"

    def namespace(self, host: str) -> str:
        return f"{self.lab}-{host}"

    def address(self, index: int) -> str:
        return f"10.77.{self.number}.{10 + index}"

    def address6(self, index: int) -> str:
        return str(IPv6Address(f"fd77:0:0:{self.number:x}::{10 + index}"))

    def etc_hosts(self, indices: dict[str, int]) -> str:
        """NAME is the IPv4 address alone, since many programs listen on one family; NAME-6 is the other."""
        lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
        for name, index in indices.items():
            lines += [f"{self.address(index)} {name}", f"{self.address6(index)} {name}-6"]
        return "\n".join(lines) + "\n"


def has_ipv6() -> bool:
    return Path("/proc/sys/net/ipv6").exists()


def addresses(network: Network, index: int) -> list[list[str]]:
    found = [[f"{network.address(index)}/24"]]
    if has_ipv6():
        found.append([f"{network.address6(index)}/64", "nodad"])
    return found


def make_bridge(network: Network) -> None:
    """Make the lab's bridge, unless a whole one is there: the names of hosts are written last."""
    namespace = network.bridge_namespace
    names = NAMES / namespace / "hosts"
    if (NAMESPACES / namespace).exists() and names.exists():
        return
    remove_namespace(namespace)
    run(["ip", "netns", "add", namespace])
    ip = ["ip", "-n", namespace]
    run([*ip, "link", "set", "lo", "up"])
    run([*ip, "link", "add", "br0", "type", "bridge"])
    for address in addresses(network, 244):
        run([*ip, "address", "add", *address, "dev", "br0"])
    run([*ip, "link", "set", "br0", "up"])
    # so that `lab outside` can say h1
    hosts = {f"h{number}": number for number in range(1, 10)}
    write(names, network.etc_hosts(hosts))


def connect(network: Network, host: str, index: int) -> Path:
    """Give a host a new network namespace, as empty as after a power cut."""
    namespace = network.namespace(host)
    port = f"p-{host}"
    remove_namespace(namespace)
    # the kernel takes the old veth down some time after its namespace; make room for the new one
    attempt(["ip", "-n", network.bridge_namespace, "link", "delete", port])
    run(["ip", "netns", "add", namespace])
    bridge = ["ip", "-n", network.bridge_namespace]
    run([*bridge, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace])
    run([*bridge, "link", "set", port, "master", "br0", "up"])
    ip = ["ip", "-n", namespace]
    run([*ip, "link", "set", "lo", "up"])
    for address in addresses(network, index):
        run([*ip, "address", "add", *address, "dev", "eth0"])
    run([*ip, "link", "set", "eth0", "up"])
    return NAMESPACES / namespace


def tap(network: Network, host: str) -> str:
    """A port of the bridge for a virtual machine, whose network card is its other end; its name."""
    port = f"p-{host}"
    ip = ["ip", "-n", network.bridge_namespace]
    attempt([*ip, "link", "delete", port])
    run([*ip, "tuntap", "add", "dev", port, "mode", "tap"])
    run([*ip, "link", "set", port, "master", "br0", "up"])
    return port


def processes(namespace: str) -> list[int]:
    if not (NAMESPACES / namespace).exists():
        return []
    return [int(word) for word in run(["ip", "netns", "pids", namespace]).split()]


def remove_namespace(namespace: str) -> None:
    names = NAMES / namespace
    if names.exists():
        shutil.rmtree(names)
    path = NAMESPACES / namespace
    if path.exists():
        deleted = attempt(["ip", "netns", "delete", namespace])
        if not deleted:  # a name without a namespace, from a killed `ip netns add`
            path.unlink(missing_ok=True)
