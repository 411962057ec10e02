"""What the kernel counts in a gear's network (proc_net(5)): three small files a gear."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from geard.idling.policy import Seen

PROC = Path("/proc")
LISTENS, GONE = "0A", ("06", "07")  # TIME_WAIT and CLOSE: nobody is there any more


def look_at(proc: Path, state: Path, ports: Collection[int]) -> Seen | None:
    """None for a gear whose program is not there. `state` is its folder below /run."""
    try:
        pid = int((state / "pid").read_text(encoding="ascii"))
        net = proc / str(pid) / "net"
        accepted = passive_opens((net / "snmp").read_text(encoding="ascii"))
        tables = [(net / name).read_text(encoding="ascii") for name in ("tcp", "tcp6") if (net / name).exists()]
    except (OSError, ValueError):
        return None
    return Seen(pid, accepted, sum(open_at(table, ports) for table in tables))


def passive_opens(snmp: str) -> int:
    """How many connections were taken in, IPv6's too. Raises ValueError."""
    rows = [line.split() for line in snmp.splitlines() if line.startswith("Tcp:")]
    names, figures = rows
    return int(figures[names.index("PassiveOpens")])


def open_at(table: str, ports: Collection[int]) -> int:
    """How many connections there are to one of these ports."""
    count = 0
    for line in table.splitlines()[1:]:
        words = line.split(None, 4)
        if words[3] != LISTENS and words[3] not in GONE and int(words[1].rpartition(":")[2], 16) in ports:
            count += 1
    return count


def listens_at_all(proc: Path, state: Path, ports: Collection[int]) -> bool:
    """Whether a gear's program listens at each of these ports of its own."""
    found: set[int] = set()
    with suppress(OSError):
        pid = (state / "pid").read_text(encoding="ascii").strip()
        for name in ("tcp", "tcp6"):
            if (table := proc / pid / "net" / name).exists():
                found |= listening(table.read_text(encoding="ascii"))
    return found >= set(ports)


def listening(table: str) -> set[int]:
    rows = (line.split(None, 4) for line in table.splitlines()[1:])
    return {int(words[1].rpartition(":")[2], 16) for words in rows if words[3] == LISTENS}
