"""What the kernel counts in a gear's network (proc_net(5)): three small files a gear."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from geard.idling.policy import Seen

PROC = Path("/proc")
LISTENS, GONE = "0A", ("06", "07")  # TIME_WAIT and CLOSE: nobody is there any more
UNCONNECTED = "07"  # CLOSE, of a socket for datagrams

Inside = tuple[str, int]
"""a port of the gear's own: protocol, number"""


def look_at(proc: Path, state: Path, ports: Collection[Inside]) -> Seen | None:
    """None for a gear whose program is not there. `state` is its folder below /run; `ports` those that wake it."""
    try:
        pid = int((state / "pid").read_text(encoding="ascii"))
        net = proc / str(pid) / "net"
        snmp = (net / "snmp").read_text(encoding="ascii")
        accepted = counted(snmp, "Tcp", "PassiveOpens")
        if any(protocol == "udp" for protocol, _ in ports):
            accepted += counted(snmp, "Udp", "InDatagrams") + datagrams6(net / "snmp6")
        tables = [(net / name).read_text(encoding="ascii") for name in ("tcp", "tcp6") if (net / name).exists()]
    except (OSError, ValueError):
        return None
    inside = {number for protocol, number in ports if protocol == "tcp"}
    return Seen(pid, accepted, sum(open_at(table, inside) for table in tables))


def counted(snmp: str, protocol: str, name: str) -> int:
    """A figure of snmp; what it has of TCP is IPv6's too. Raises ValueError."""
    rows = [line.split() for line in snmp.splitlines() if line.startswith(f"{protocol}:")]
    names, figures = rows
    return int(figures[names.index(name)])


def datagrams6(snmp6: Path) -> int:
    """0 where the kernel has no IPv6. Raises ValueError."""
    lines = snmp6.read_text(encoding="ascii").splitlines() if snmp6.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("Udp6InDatagrams "))


def open_at(table: str, ports: Collection[int]) -> int:
    """How many connections there are to one of these ports."""
    count = 0
    for line in table.splitlines()[1:]:
        words = line.split(None, 4)
        if words[3] != LISTENS and words[3] not in GONE and int(words[1].rpartition(":")[2], 16) in ports:
            count += 1
    return count


def listens_at_all(proc: Path, state: Path, ports: Collection[Inside]) -> bool:
    """Whether a gear's program listens at each of these ports of its own."""
    found: set[Inside] = set()
    with suppress(OSError):
        pid = (state / "pid").read_text(encoding="ascii").strip()
        for protocol, name in (("tcp", "tcp"), ("tcp", "tcp6"), ("udp", "udp"), ("udp", "udp6")):
            if (table := proc / pid / "net" / name).exists():
                how = LISTENS if protocol == "tcp" else UNCONNECTED
                found |= {(protocol, number) for number in listening(table.read_text(encoding="ascii"), how)}
    return found >= set(ports)


def listening(table: str, how: str) -> set[int]:
    rows = (line.split(None, 4) for line in table.splitlines()[1:])
    return {int(words[1].rpartition(":")[2], 16) for words in rows if words[3] == how}
