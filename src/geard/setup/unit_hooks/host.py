#!/usr/bin/python3 -IS
"""Before any gear: the rules that keep gears apart from each other and from the host. Run by geard-host.service.

A gear reaches other gears and the host only through published ports (and links): frames never pass from one port
of the bridge to another, packets from the bridge pass back to it only where a published port led them, and the
host itself takes nothing from it but answers and neighbour discovery. Nor does another machine that routes packets
here reach more than published ports. `/run/geard/host-ready` says that the rules
are in force; no gear starts without it.

And where gears' volumes are, set-uid programs and devices are none: what root in a gear makes there is root's on
the host's disk. A null device of their own is what gears have for input.
"""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from contextlib import suppress

READY = "/run/geard/host-ready"
PORTS = "/var/lib/containers/ports/interfaces"
NETWORK = "/var/lib/containers/network"
DATA = "/var/lib/containers/data"
SYSCTL = "/proc/sys/net/ipv4"
# crun before 1.23 makes what a container has for input the property of that container's user
# (https://github.com/containers/crun/issues/1845), who might then close the host's own /dev/null to others.
NULL = "/dev/geard-null"
LABEL = "security.selinux"

# geard0 is podman's bridge for gears, geard1 Docker's: for what passes they are one.
#
# Where bridges call netfilter (br_netfilter), a packet that a published port leads back to the bridge goes from
# port to port as a frame: the mark, set where the connection is known, lets it through. No gear can set it: marks
# do not leave a network namespace.
# 02:67:65 begins every gear's MAC (containers/slots.py). What is dropped or rejected here stays so, whatever
# other tables say.
# `published`: Docker leads what comes from its own bridge to a published port through docker-proxy, a program of
# the host's; gear-docker keeps the ports of gears that run in there.
# Published ports lead clients of ::1 to a gear as well, and Linux drops what comes from ::1 on a wire (RFC 4291,
# 2.5.3): they are refused, so that who tries `localhost` goes on to 127.0.0.1 at once instead of after minutes.
# `links`: which gear is led to which address and port of the host itself (links/live.py).
RULES = """
define gears = { "geard0", "geard1" }
table inet geard
delete table inet geard
table inet geard {
    set published {
        type inet_proto . inet_service
        PUBLISHED
    }
    set ipv6 {
        type ipv6_addr
        flags interval
        IPV6
    }
    set links {
        type ipv4_addr . ipv4_addr . inet_proto . inet_service
    }
    chain input {
        type filter hook input priority -10; policy accept;
        iifname != $gears accept
        ct state established,related accept
        icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
        iifname "geard1" meta l4proto . th dport @published accept
        ip saddr . ip daddr . meta l4proto . th dport @links accept
        reject with icmpx type admin-prohibited
    }
    chain forward {
        type filter hook forward priority -10; policy accept;
        iifname $gears oifname $gears ct status dnat meta mark set meta mark or 0x10000000 accept
        iifname $gears oifname $gears reject with icmpx type admin-prohibited
        oifname $gears ct status dnat accept
        oifname $gears ct state new reject with icmpx type admin-prohibited
    }
    chain output {
        type filter hook output priority 0; policy accept;
        ip6 saddr ::1 ip6 daddr @ipv6 meta l4proto tcp reject with tcp reset
        ip6 saddr ::1 ip6 daddr @ipv6 reject with icmpx type port-unreachable
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
    _make_harmless(DATA)
    _make_null(NULL)
    _make_hosts("/dev/null")
    reserved = _reserved_ports()
    ports = ", ".join(f"{protocol} . {port}" for protocol, port in sorted(reserved))
    rules = RULES.replace("PUBLISHED", f"elements = {{ {ports} }}" if ports else "")
    networks = ", ".join(_ipv6_networks())
    rules = rules.replace("IPV6", f"elements = {{ {networks} }}" if networks else "")
    rules += _links()
    finished = subprocess.run(["/usr/sbin/nft", "-f", "-"], input=rules, text=True, check=False)
    if finished.returncode:
        _remove(READY)
        return 1
    _sysctl("ip_forward", "1")
    _keep_from_clients({port for _, port in reserved})
    os.makedirs(os.path.dirname(READY), exist_ok=True)
    with open(READY, "w", encoding="ascii"):
        pass
    return 0


def _make_harmless(folder: str) -> None:
    """Mount it over itself with nosuid and nodev, unless it is so. Looked at each time: the disk that it is on may
    have been mounted since. A failure stops no gear: users of the host do not get in there either way.
    """
    if not os.path.isdir(os.path.dirname(folder)):
        return
    os.makedirs(folder, mode=0o700, exist_ok=True)
    wanted = os.ST_NOSUID | os.ST_NODEV
    if os.statvfs(folder).f_flag & wanted == wanted:
        return
    for words in (["--bind", folder, folder], ["-o", "remount,bind,nosuid,nodev", folder]):
        if subprocess.run(["/usr/bin/mount", *words], check=False).returncode:
            return


def _make_null(path: str) -> None:
    """Where no devices can be made, it leads to the host's: no gear starts without."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except FileExistsError:
        pass
    except OSError as error:
        print(f"cannot make {path}: {error.strerror}", file=sys.stderr)
        os.symlink("null", path)
        return
    else:
        os.chmod(path, 0o666)
    with suppress(OSError):  # SELinux: what the policy lets programs do with the host's
        os.setxattr(path, LABEL, os.getxattr("/dev/null", LABEL))


def _make_hosts(path: str) -> None:
    """What an earlier container was given is given back."""
    if os.stat(path).st_uid or os.stat(path).st_mode & 0o777 != 0o666:
        os.chown(path, 0, 0)
        os.chmod(path, 0o666)


def _links() -> str:
    """Into `links`, those of gears that have been started since the boot."""
    if not os.path.isdir("/run/geard/gears"):
        return ""
    sys.path.append(f"/opt/geard/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")
    from geard.links.live import openings  # noqa: PLC0415 - the path must be known before

    return openings("/run/geard")


def _reserved_ports() -> set[tuple[str, int]]:
    """Protocol and number of the host's ports that belong to gears: 4900 is for TCP, 4900.udp for UDP."""
    names = {name.partition(".")[::2] for _, _, names in os.walk(PORTS) for name in names}
    return {(protocol or "tcp", int(port)) for port, protocol in names if port.isdigit() and int(port) < 65_536}


def _ipv6_networks() -> list[str]:
    """Those of the bridges, as `gear setup` chose them."""
    try:
        with open(NETWORK, encoding="ascii") as file:
            lines = [line.split() for line in file]
    except FileNotFoundError:
        return []
    return [line[1] for line in lines if len(line) == 2 and line[0].endswith("ipv6")]


def _keep_from_clients(reserved: set[int]) -> None:
    """Keep reserved ports out of the kernel's range for outgoing connections, beside an admin's own."""
    with open(f"{SYSCTL}/ip_local_port_range", encoding="ascii") as file:
        low, high = map(int, file.read().split())
    ports = {port for port in reserved if low <= port <= high}
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
