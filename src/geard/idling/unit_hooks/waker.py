#!/usr/bin/python3 -IS
"""Holds the first packet to an idle gear's port until the gear listens. Run by geard-waker.service.

What to hold stands in /run/geard/idle, a file for each idle gear. The rules of `table inet geard_idle` send a
packet that begins a connection to such a port, or a datagram, into the kernel's queue 43273 (nfnetlink_queue),
before connections are tracked and ports translated: released, it meets the rules that the gear's engine has made
meanwhile. Who starts the gear is another (gear-wake, behind /run/geard/wake.sock); this process may change rules
of the packet filter, have gears go on that were frozen, and nothing else. Where it is not there, the rules let
packets pass (`bypass`): they are refused, for nobody listens.

One thread. A gear's port is woken once, whoever comes meanwhile waits beside the first; a few at once, in order.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence

FOLDER = "/run/geard/idle"
DOOR = "/run/geard/wake.sock"
SETTINGS = "/etc/geard/geard.toml"
NFT = "/usr/sbin/nft"
TABLE = "geard_idle"
QUEUE = 43273
LENGTH = 4096  # packets in the queue; more are dropped, and come again
AT_ONCE = 4  # wakes; one that takes long (below) makes way for the next
LONG = 5.0
PATIENCE = 90.0  # seconds that a packet is held; clients give up before
REPAIRS = 1.0  # seconds between two
WAKES_OF_ONE = 30  # gears that one address may wake within a minute: a scan of ports does not wake them all
SPAN = 60.0
SOURCES = 4096  # whose wakes are counted at a time
DATAGRAMS = 64  # held for one port; more are dropped
TRIES = 3  # of asking gear-wake, where it ends without an answer

# linux/netfilter/nfnetlink*.h, nf_tables.h, x_tables.h
NETLINK_NETFILTER = 12
SOL_NETLINK, ADD_MEMBERSHIP, NO_ENOBUFS = 270, 1, 5
SO_RCVBUFFORCE = 33
NFNLGRP_NFTABLES = 7
SUBSYS_QUEUE, SUBSYS_NFTABLES = 3, 10
PACKET, VERDICT, CONFIG = 0, 1, 2
CFG_CMD, CFG_PARAMS, CFG_MAXLEN = 1, 2, 3
PACKET_HEADER, VERDICT_HEADER, INPUT, PAYLOAD = 1, 2, 5, 10
BIND, COPY_PACKET, DROP, ACCEPT = 1, 2, 0, 1
BATCH_BEGIN, BATCH_END, NEW_RULE = 16, 17, 6
DELETIONS = {2, 5, 8, 11, 14}  # table, chain, rule, set, element
NFPROTO_INET = 1
REQUEST, ACK, CREATE, APPEND = 1, 4, 0x400, 0x800
NESTED = 0x8000

# Set by set: what is published on all addresses of the host, and on one. The host's own clients come by `output`
# alone: their packets pass `prerouting` again on lo where nothing led them elsewhere.
RULES = f"""
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
    set all_addresses {{
        type inet_proto . inet_service
    }}
    set ipv4 {{
        type ipv4_addr . inet_proto . inet_service
    }}
    set ipv6 {{
        type ipv6_addr . inet_proto . inet_service
    }}
    chain held {{
    }}
    chain first {{
        tcp flags & (fin | syn | rst | ack) != syn return
        meta l4proto . th dport @all_addresses fib daddr type local goto held
        ip daddr . meta l4proto . th dport @ipv4 goto held
        ip6 daddr . meta l4proto . th dport @ipv6 goto held
    }}
    chain prerouting {{
        type filter hook prerouting priority -300; policy accept;
        iifname "lo" accept
        meta l4proto {{ tcp, udp }} jump first
    }}
    chain output {{
        type filter hook output priority -300; policy accept;
        meta l4proto {{ tcp, udp }} jump first
    }}
}}
"""
QUEUED = f"add rule inet {TABLE} held queue flags bypass to {QUEUE}\n"

Element = tuple[str, str]
"""a set, and what is in it"""


def main() -> int:
    waker = Waker()
    _tell_systemd("READY=1")
    waker.run()
    return 0


class Waker:
    def __init__(self) -> None:
        self._queue = Queue()
        self._rules = Rules()
        self._selector = selectors.DefaultSelector()
        self._ports: dict[str, str] = {}
        """the gear that is woken by this port: 4100, or 53/udp"""
        self._switches: dict[str, tuple[str, str]] = {}
        """of gears that are frozen and listen: the file by which they go on, and what is to be written there"""
        self._allowed: dict[str, list[str]] = {}
        """the networks and interfaces whose packets may wake a gear, where it says so itself"""
        self._bounds = Bounds()
        self._elements: dict[str, Element] = {}
        self._held: dict[str, list[int]] = {}
        """packets, by port"""
        self._waiting: list[str] = []
        """ports whose gear has yet to be asked for, the first first"""
        self._asked: dict[str, tuple[socket.socket, float, bytes]] = {}
        self._callers: dict[str, tuple[str, int, int]] = {}
        """who came first to a port, when, and when its gear went on by our hand (ns of the monotonic clock)"""
        self._tries: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._signals, self._folder = _watch(FOLDER)
        for file, deed in (
            (self._queue.socket, self._packets),
            (self._rules.changes, self._changed_rules),
            (self._signals, self._changed_folder),
        ):
            self._selector.register(file, selectors.EVENT_READ, deed)
        self._rules.make()
        self._read_folder()

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select(1.0 if self._held or self._rules.broken else None):
                key.data()
            self._rules.repair()
            now = time.monotonic()
            for port in [port for port, since in self._since.items() if now - since > PATIENCE]:
                self._release(port)
            self._ask()

    def _packets(self) -> None:
        found = self._queue.packets()
        if found:
            self._bounds.read()
        for number, interface, packet in found:
            came = time.monotonic_ns()
            source, port = _addresses(packet)
            gear = self._ports.get(port)
            if gear is None and port not in self._held:
                self._queue.accept(number)
                continue
            said = self._allowed.get(gear or "", ())
            if gear is not None and not self._bounds.may_wake(
                said, source, interface, first=port not in self._held
            ):
                # Refused, for nobody listens; with one that is frozen the kernel would answer in its place.
                self._queue.settle(number, DROP if gear in self._switches else ACCEPT)
                continue
            thawed = self._thaw(gear) if gear is not None else 0
            if thawed:
                self._queue.accept(number)
            if port not in self._held:
                self._held[port] = []
                self._callers[port] = source, came, thawed
                self._since[port] = time.monotonic()
                self._waiting.append(port)
            if thawed:
                continue
            if port.endswith("/udp") and len(self._held[port]) >= DATAGRAMS:
                self._queue.settle(number, DROP)
                continue
            self._held[port].append(number)
        self._ask()

    def _thaw(self, gear: str) -> int:
        """When it went on; 0 where that is not ours to do. At each packet, since it may have been frozen again."""
        if gear not in self._switches:
            return 0
        path, word = self._switches[gear]
        try:
            with open(path, "w", encoding="ascii") as file:
                file.write(word)
        except OSError:  # it has ended, or is not ours: gear-wake does what there is to do
            return 0
        return time.monotonic_ns()

    def _ask(self) -> None:
        now = time.monotonic()
        while self._waiting:
            if sum(now - since < LONG for _, since, _ in self._asked.values()) >= AT_ONCE:
                return
            port = self._waiting[0]
            gear = self._ports.get(port)
            if gear is None:  # it was told something else before its turn came
                self._waiting.pop(0)
                self._release(port)
                continue
            line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                line.connect(DOOR)
                line.sendall(f"{gear} {port} {' '.join(map(str, self._callers[port]))}\n".encode())
            except BlockingIOError:  # many are before us: the next turn
                line.close()
                return
            except OSError as error:
                line.close()
                print(f"cannot ask for {gear}: {error.strerror}", file=sys.stderr, flush=True)
                self._waiting.pop(0)
                self._release(port)
                continue
            self._waiting.pop(0)
            self._asked[port] = line, now, b""
            self._selector.register(line, selectors.EVENT_READ, lambda port=port: self._answer(port))

    def _answer(self, port: str) -> None:
        line, since, text = self._asked[port]
        try:
            more = line.recv(500)
        except OSError:
            more = b""
        *lines, text = (text + more).split(b"\n")
        for words in (one.split() for one in lines):
            if words[:1] != [b"go"]:
                self._release(port)
                return
            count = int(words[1])
            for number in self._held[port][:count]:
                self._queue.accept(number)
            del self._held[port][:count]
            line.send(b"%d\n" % len(self._held[port]))
        if more:
            self._asked[port] = line, since, text
        elif self._tries.get(port, 1) < TRIES:  # gear-wake was killed; systemd has another
            self._tries[port] = self._tries.get(port, 1) + 1
            self._hang_up(port)
            self._waiting.append(port)
        else:
            self._release(port)

    def _hang_up(self, port: str) -> None:
        if port in self._asked:
            line = self._asked.pop(port)[0]
            self._selector.unregister(line)
            line.close()

    def _release(self, port: str) -> None:
        """Let them go on: to the gear; or, where it does not listen, to be refused by the kernel at once."""
        for number in self._held.pop(port, ()):
            self._queue.accept(number)
        for known in (self._since, self._callers, self._tries):
            known.pop(port, None)
        self._hang_up(port)
        if port in self._waiting:
            self._waiting.remove(port)
        self._sync()

    def _changed_folder(self) -> None:
        os.read(self._signals, 4096)
        self._read_folder()

    def _read_folder(self) -> None:
        ports: dict[str, str] = {}
        elements: dict[str, Element] = {}
        switches: dict[str, tuple[str, str]] = {}
        allowed: dict[str, list[str]] = {}
        for name in os.listdir(FOLDER):
            if not name.startswith("ctr-"):
                continue
            try:
                with open(f"{FOLDER}/{name}", encoding="ascii") as file:
                    lines = file.read().splitlines()
            except OSError:
                continue
            gear = name.removeprefix("ctr-")
            for kind, *words in (line.split(" ") for line in lines):
                if kind in ("tcp", "udp"):
                    external, _, address = words
                    port = external if kind == "tcp" else f"{external}/udp"
                    ports[port] = gear
                    elements[port] = _element(address, kind, external)
                elif kind == "thaw":
                    switches[gear] = words[0], words[1]
                elif kind == "from":
                    allowed[gear] = words
        self._switches, self._allowed = switches, allowed
        self._ports, self._elements = (
            ports,
            elements
            | {
                port: element
                for port, element in self._elements.items()
                if port in self._held and port not in elements
            },
        )
        self._sync()

    def _sync(self) -> None:
        for port in [port for port in self._elements if port not in self._ports and port not in self._held]:
            del self._elements[port]
        self._rules.hold(set(self._elements.values()))

    def _changed_rules(self) -> None:
        self._rules.look()


class Bounds:
    """Who may wake gears, and how many, by the machine's settings: read again when they have changed."""

    def __init__(self) -> None:
        self.wake_from: list[str] = []
        self.wake_interfaces: list[str] = []
        self._most = WAKES_OF_ONE
        self._known: tuple[int, int] | None = None
        self._woken: dict[bytes, list[float]] = {}
        """when each address has woken a gear lately"""

    def read(self) -> None:
        try:
            status = os.stat(SETTINGS)
            known = status.st_ino, status.st_mtime_ns
        except OSError:
            known = None
        if known == self._known:
            return
        self._known = known
        try:
            self._set(known is not None)
        except (OSError, ValueError, TypeError, AttributeError) as error:  # what held before, holds
            print(f"{SETTINGS} cannot be read, or what it says of idling: {error}", file=sys.stderr, flush=True)

    def _set(self, there: bool) -> None:
        text = ""
        if there:
            with open(SETTINGS, encoding="utf-8") as file:
                text = file.read()
        section = tomllib.loads(text).setdefault("idling", {})
        networks = [str(ipaddress.ip_network(text, strict=False)) for text in section.get("wake-from", [])]
        interfaces = section.get("wake-interfaces", [])
        if isinstance(interfaces, str):
            raise TypeError("wake-interfaces is no list of names")
        most = int(section.get("wakes-of-one", WAKES_OF_ONE))
        self.wake_from, self.wake_interfaces, self._most = networks, [str(name) for name in interfaces], most

    def may_wake(self, said: Sequence[str], source: str, interface: int, *, first: bool) -> bool:
        """By what a gear says itself, in place of the settings: networks; and interfaces, which have no slash. The
        `first` of those that come is counted.
        """
        networks = [word for word in said if "/" in word] or self.wake_from
        interfaces = [word for word in said if "/" not in word] or self.wake_interfaces
        if networks and not _is_among(source, networks):
            return False
        if not interface:  # the host's own
            return True
        if interfaces and not _is_called(interface, interfaces):
            return False
        return not first or _is_named(source, networks) or self.take(source)

    def take(self, source: str) -> bool:
        """Whether this address may wake one more; an address of IPv6 stands for its /64."""
        if not self._most or source in ("127.0.0.1", "::1"):
            return True
        now = time.monotonic()
        key = socket.inet_pton(socket.AF_INET6, source)[:8] if ":" in source else source.encode()
        if len(self._woken) >= SOURCES:
            self._woken = {each: times for each, times in self._woken.items() if now - times[-1] < SPAN}
        times = self._woken[key] = [at for at in self._woken.get(key, ()) if now - at < SPAN]
        if len(times) > self._most:
            return False
        times.append(now)
        if len(times) > self._most:  # for the first time
            print(f"{source} wakes no more: {self._most} gears within a minute", file=sys.stderr, flush=True)
        return len(times) <= self._most


class Rules:
    """The table, made once and mended when somebody else has taken from it."""

    def __init__(self) -> None:
        self.changes = _netlink()
        self.changes.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        self.changes.setblocking(False)
        self.broken = False
        self._there: set[Element] = set()
        self._wanted: set[Element] = set()
        self._made = 0.0

    def make(self) -> None:
        """In two steps for kernels without nft_queue: theirs is the target of the older tables, which nft(8)
        shows and cannot say.
        """
        said = _nft(RULES + QUEUED)
        if said:
            said = _nft(RULES) or _add_old_target()
        self._made = time.monotonic()
        self.broken = bool(said)
        if said:
            print(f"the kernel does not take the rules: {said}", file=sys.stderr, flush=True)
        self._there = set()
        self.hold(self._wanted)

    def hold(self, wanted: set[Element]) -> None:
        self._wanted = wanted
        text = _changes("add", wanted - self._there) + _changes("delete", self._there - wanted)
        if text and not self.broken and _nft(text):
            self.broken = True  # somebody was here
        self._there = set(wanted)
        self._drain()

    def _drain(self) -> bool:
        """Whether something of the table was taken away by anybody, as far as was told till now."""
        taken = False
        while True:
            try:
                taken = _takes(self.changes.recv(65536)) or taken
            except BlockingIOError:
                return taken
            except OSError:  # more was told than there was room for
                taken = True

    def look(self) -> None:
        """Somebody else has changed rules; what we change ourselves is read away behind it."""
        self.broken = self._drain() or self.broken

    def repair(self) -> None:
        if self.broken and time.monotonic() - self._made > REPAIRS:
            print(
                "the rules that hold first packets were changed by another: made again",
                file=sys.stderr,
                flush=True,
            )
            self.make()


class Queue:
    def __init__(self) -> None:
        self.socket = _netlink()
        self.socket.setsockopt(SOL_NETLINK, NO_ENOBUFS, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        for attribute in (
            _attribute(CFG_CMD, struct.pack(">BxH", BIND, 0)),
            _attribute(CFG_PARAMS, struct.pack(">IB", 128, COPY_PACKET)),
            _attribute(CFG_MAXLEN, struct.pack(">I", LENGTH)),
        ):
            self.socket.send(_message(SUBSYS_QUEUE << 8 | CONFIG, REQUEST | ACK, 0, QUEUE, attribute))
            error = _error(self.socket.recv(65536))
            if error:
                raise OSError(error, f"queue {QUEUE}: {os.strerror(error)}")
        self.socket.setblocking(False)

    def packets(self) -> list[tuple[int, int, bytes]]:
        """The number of each, the interface by which it came (0: it is the host's own), its first bytes."""
        found: list[tuple[int, int, bytes]] = []
        for _ in range(256):
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                break
            for kind, body in _messages(data):
                if kind == SUBSYS_QUEUE << 8 | PACKET:
                    found += _packet(body)
        return found

    def accept(self, number: int) -> None:
        self.settle(number, ACCEPT)

    def settle(self, number: int, how: int) -> None:
        verdict = _attribute(VERDICT_HEADER, struct.pack(">II", how, number))
        self.socket.send(_message(SUBSYS_QUEUE << 8 | VERDICT, REQUEST, 0, QUEUE, verdict))


def _packet(body: bytes) -> list[tuple[int, int, bytes]]:
    told = dict(_attributes(body[4:]))
    if PACKET_HEADER not in told:
        return []
    (number,) = struct.unpack_from(">I", told[PACKET_HEADER])
    (interface,) = struct.unpack(">I", told.get(INPUT, bytes(4)))
    return [(number, interface, told.get(PAYLOAD, b""))]


def _addresses(packet: bytes) -> tuple[str, str]:
    """Where a packet comes from, and to which port it goes; empty for none."""
    if len(packet) >= 24 and packet[0] >> 4 == 4:
        start = (packet[0] & 15) * 4
        source, protocol = socket.inet_ntop(socket.AF_INET, packet[12:16]), packet[9]
    elif len(packet) >= 44 and packet[0] >> 4 == 6:
        start, protocol = 40, packet[6]
        source = socket.inet_ntop(socket.AF_INET6, packet[8:24])
    else:
        return "", ""
    if protocol not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) or len(packet) < start + 4:
        return source, ""
    port = struct.unpack_from(">H", packet, start + 2)[0]
    return source, f"{port}/udp" if protocol == socket.IPPROTO_UDP else str(port)


def _is_among(source: str, networks: list[str]) -> bool:
    for network in networks:
        address, _, length = network.partition("/")
        if (":" in address) == (":" in source):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            here, there = (int.from_bytes(socket.inet_pton(family, each), "big") for each in (source, address))
            rest = (128 if family == socket.AF_INET6 else 32) - int(length)
            if here >> rest == there >> rest:
                return True
    return False


def _is_named(source: str, networks: list[str]) -> bool:
    """Whether one of them is that address alone, or its /64 of IPv6: whoever wrote it down means this one."""
    lengths = {text: int(text.partition("/")[2]) for text in networks}
    return _is_among(source, [text for text in networks if lengths[text] >= (64 if ":" in text else 32)])


def _is_called(interface: int, names: list[str]) -> bool:
    try:
        called = socket.if_indextoname(interface)
    except OSError:  # it is gone
        return False
    return any(called == name or (name[-1:] == "*" and called.startswith(name[:-1])) for name in names)


def _element(address: str, protocol: str, port: str) -> Element:
    if address in ("*", "0.0.0.0", "::"):
        return "all_addresses", f"{protocol} . {port}"
    return ("ipv6" if ":" in address else "ipv4"), f"{address} . {protocol} . {port}"


def _changes(verb: str, elements: set[Element]) -> str:
    sets: dict[str, list[str]] = {}
    for name, value in sorted(elements):
        sets.setdefault(name, []).append(value)
    return "".join(
        f"{verb} element inet {TABLE} {name} {{ {', '.join(values)} }}\n" for name, values in sets.items()
    )


def _nft(text: str) -> str:
    """What nft(8) complains of; empty where all was done."""
    finished = subprocess.run([NFT, "-f", "-"], input=text, text=True, capture_output=True, check=False)
    return "" if not finished.returncode else finished.stderr.strip().partition("\n")[0] or "nft failed"


def _add_old_target() -> str:
    """The rule of `held` by the target NFQUEUE of x_tables (nft_compat), as iptables-nft writes it."""
    information = struct.pack("=HHHxx", QUEUE, 1, 1)  # struct xt_NFQ_info_v3: one queue, bypass
    target = (
        _attribute(1, b"NFQUEUE\0"), _attribute(2, struct.pack(">I", 3)), _attribute(3, information),
    )  # fmt: skip
    expression = _attribute(1, b"target\0") + _attribute(2 | NESTED, b"".join(target))
    rule = (
        _attribute(1, f"{TABLE}\0".encode())
        + _attribute(2, b"held\0")
        + _attribute(4 | NESTED, _attribute(1 | NESTED, expression))
    )
    with _netlink() as line:
        line.send(
            _message(BATCH_BEGIN, REQUEST, 0, SUBSYS_NFTABLES, b"")
            + _message(SUBSYS_NFTABLES << 8 | NEW_RULE, REQUEST | ACK | CREATE | APPEND, NFPROTO_INET, 0, rule)
            + _message(BATCH_END, REQUEST, 0, SUBSYS_NFTABLES, b"")
        )
        error = _error(line.recv(65536))
    return os.strerror(error) if error else ""


def _takes(data: bytes) -> bool:
    return any(
        kind >> 8 == SUBSYS_NFTABLES
        and kind & 0xFF in DELETIONS
        and body[0] == NFPROTO_INET
        and dict(_attributes(body[4:])).get(1) == f"{TABLE}\0".encode()
        for kind, body in _messages(data)
    )


def _netlink() -> socket.socket:
    line = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    line.bind((0, 0))
    return line


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def _message(kind: int, flags: int, family: int, resource: int, body: bytes) -> bytes:
    body = struct.pack(">BBH", family, 0, resource) + body
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def _messages(data: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    start = 0
    while start + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, start)
        if length < 16:
            break
        found.append((kind, data[start + 16 : start + length]))
        start += length + -length % 4
    return found


def _attributes(data: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    start = 0
    while start + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, start)
        if length < 4:
            break
        found.append((kind & 0x3FFF, data[start + 4 : start + length]))
        start += length + -length % 4
    return found


def _error(data: bytes) -> int:
    """The errno of an answer to a message with ACK."""
    kind = struct.unpack_from("=H", data, 4)[0]
    return -struct.unpack_from("=i", data, 16)[0] if kind == 2 else 0


def _watch(folder: str) -> tuple[int, int]:
    """A descriptor that can be read when something in the folder has changed (F_NOTIFY of fcntl(2)); and what has
    to stay open for that.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGIO, lambda number, frame: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watched = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    what = fcntl.DN_CREATE | fcntl.DN_DELETE | fcntl.DN_RENAME | fcntl.DN_MULTISHOT
    fcntl.fcntl(watched, fcntl.F_NOTIFY, what)
    return reader, watched


def _tell_systemd(text: str) -> None:
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto(text.encode(), path.replace("@", "\0", 1) if path[0] == "@" else path)


if __name__ == "__main__":
    sys.exit(main())
