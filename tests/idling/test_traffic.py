"""What the kernel counts, read; its own words from a real host."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from geard.idling.policy import Seen
from geard.idling.traffic import counted, datagrams6, listens_at_all, look_at, open_at

SNMP = """\
Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails
Tcp: 1 200 120000 -1 17 42 3
"""
# Listening at 8080; 8080 with somebody; what is left of one; a connection of its own to another's 8080.
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 1 1 0 100 0 0 10 0
   1: 0A00B70A:1F90 FE4D4D0A:C350 01 00000000:00000000 00:00000000 00000000  0 0 2 1 0 20 4 30 10 -1
   2: 0A00B70A:1F90 FE4D4D0A:C351 06 00000000:00000000 03:00001771 00000000  0 0 0 3 0
   3: 0A00B70A:D431 FE4D4D0A:1F90 01 00000000:00000000 00:00000000 00000000  0 0 3 1 0 20 4 30 10 -1
"""


def test_connections_to_a_port_are_counted_and_no_others() -> None:
    assert counted(SNMP, "Tcp", "PassiveOpens") == 42
    assert open_at(TCP, {8080}) == 1
    assert open_at(TCP, {80}) == 0


def test_a_gear_is_looked_at_by_its_process(tmp_path: Path) -> None:
    state, net = tmp_path / "ctr-web", tmp_path / "proc/7/net"
    state.mkdir()
    net.mkdir(parents=True)
    assert look_at(tmp_path / "proc", state, {("tcp", 8080)}) is None
    (state / "pid").write_text("7\n")
    assert look_at(tmp_path / "proc", state, {("tcp", 8080)}) is None
    (net / "snmp").write_text(SNMP)
    (net / "tcp").write_text(TCP)
    assert look_at(tmp_path / "proc", state, {("tcp", 8080)}) == Seen(7, 42, 1)
    assert listens_at_all(tmp_path / "proc", state, {("tcp", 8080)})
    assert not listens_at_all(tmp_path / "proc", state, {("tcp", 8080), ("tcp", 443)})
    (state / "pid").unlink()
    assert not listens_at_all(tmp_path / "proc", state, {("tcp", 8080)})


UDP = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  137: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 9 2 0 0
"""


def test_datagrams_count_where_they_wake(tmp_path: Path) -> None:
    state, net = tmp_path / "ctr-dns", tmp_path / "proc/7/net"
    state.mkdir()
    net.mkdir(parents=True)
    (state / "pid").write_text("7\n")
    (net / "snmp").write_text(SNMP + "Udp: InDatagrams NoPorts\nUdp: 5 1\n")
    (net / "tcp").write_text(TCP)
    (net / "udp").write_text(UDP)
    both = {("tcp", 8080), ("udp", 53)}
    assert look_at(tmp_path / "proc", state, {("tcp", 8080)}) == Seen(7, 42, 1)
    assert look_at(tmp_path / "proc", state, both) == Seen(7, 47, 1)
    (net / "snmp6").write_text("Ip6InReceives 30\nUdp6InDatagrams 3\nUdp6InErrors 9\n")
    assert look_at(tmp_path / "proc", state, both) == Seen(7, 50, 1)
    assert listens_at_all(tmp_path / "proc", state, both)
    assert not listens_at_all(tmp_path / "proc", state, {("udp", 8080)}), "there it takes connections"


def test_this_kernel_says_it_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        net = Path("/proc/self/net")
        before = counted((net / "snmp").read_text(), "Tcp", "PassiveOpens")
        with socket.create_connection(("127.0.0.1", port)):
            line, _ = server.accept()
            assert open_at((net / "tcp").read_text(), {port}) == 1
            assert counted((net / "snmp").read_text(), "Tcp", "PassiveOpens") > before
            line.close()
        figures = (net / "snmp").read_text(), net / "snmp6"
        assert counted(figures[0], "Udp", "InDatagrams") + datagrams6(figures[1]) >= 0


@pytest.mark.parametrize("text", ["", "Tcp: PassiveOpens\n", "Tcp: A\nTcp: 1\n"])
def test_what_cannot_be_read_is_no_figure(text: str) -> None:
    with pytest.raises(ValueError, match=r"values to unpack|not in list"):
        counted(text, "Tcp", "PassiveOpens")
