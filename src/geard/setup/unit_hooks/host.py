#!/usr/bin/python3 -IS
"""Before any gear: the rules that keep gears apart from each other and from the host. Run by geard-host.service.

A gear reaches other gears and the host only through published ports (and links): frames never pass from one port
of the bridge to another, packets from the bridge pass back to it only where a published port led them, and the
host itself takes nothing from it but answers and neighbour discovery. Nor does another machine that routes packets
here reach more than published ports. `/run/geard/host-ready` says that the rules
are in force; no gear starts without it.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

READY = "/run/geard/host-ready"
PORTS = "/var/lib/containers/ports/interfaces"
SYSCTL = "/proc/sys/net/ipv4"

# Where bridges call netfilter (br_netfilter), a packet that a published port leads back to the bridge goes from
# port to port as a frame: the mark, set where the connection is known, lets it through. No gear can set it: marks
# do not leave a network namespace.
# 02:67:65 begins every gear's MAC (containers/slots.py). What is dropped or rejected here stays so, whatever
# other tables say.
RULES = """
table inet geard
delete table inet geard
table inet geard {
    chain input {
        type filter hook input priority -10; policy accept;
        iifname != "geard0" accept
        ct state established,related accept
        icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
        reject with icmpx type admin-prohibited
    }
    chain forward {
        type filter hook forward priority -10; policy accept;
        iifname "geard0" oifname "geard0" ct status dnat meta mark set meta mark or 0x10000000 accept
        iifname "geard0" oifname "geard0" reject with icmpx type admin-prohibited
        oifname "geard0" ct status dnat accept
        oifname "geard0" ct state new reject with icmpx type admin-prohibited
    }
}
table bridge geard
delete table bridge geard
table bridge geard {
    chain forward {
        type filter hook forward priority 100; policy accept;
        ether saddr & ff:ff:ff:00:00:00 != 02:67:65:00:00:00 accept
        meta mark & 0x10000000 != 0 accept
        drop
    }
}
"""


def main() -> int:
    finished = subprocess.run(["/usr/sbin/nft", "-f", "-"], input=RULES, text=True, check=False)
    if finished.returncode:
        _remove(READY)
        return 1
    _sysctl("ip_forward", "1")
    _keep_ports_from_clients()
    os.makedirs(os.path.dirname(READY), exist_ok=True)
    with open(READY, "w", encoding="ascii"):
        pass
    return 0


def _keep_ports_from_clients() -> None:
    """Keep reserved ports out of the kernel's range for outgoing connections, beside an admin's own."""
    with open(f"{SYSCTL}/ip_local_port_range", encoding="ascii") as file:
        low, high = map(int, file.read().split())
    ports = {
        int(name.partition(".")[0])
        for _, _, names in os.walk(PORTS)
        for name in names
        if name.partition(".")[0].isdigit() and low <= int(name.partition(".")[0]) <= high
    }
    if ports:
        # What is written replaces what was there: one writer at a time, as in ports/reservations.py.
        lock = os.open(f"{PORTS}/1", os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(f"{SYSCTL}/ip_local_reserved_ports", encoding="ascii") as file:
            there = file.read().strip()
        _sysctl("ip_local_reserved_ports", ",".join([*([there] if there else []), *map(str, sorted(ports))]))
        os.close(lock)


def _sysctl(name: str, value: str) -> None:
    try:
        with open(f"{SYSCTL}/{name}", "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        print(f"cannot set net.ipv4.{name}: {error.strerror}", file=sys.stderr)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


if __name__ == "__main__":
    sys.exit(main())
