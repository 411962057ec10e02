#!/usr/bin/python3 -IS
"""What sshd asks (AuthorizedKeysCommand, sshd_config(5)): may this key log in as this user, and what may it do?

    gear-authorized-keys LOGIN UID FINGERPRINT TYPE KEY

Asked as a user without rights while somebody waits to be let in, so: no look-up of names, a few files, and no
module that takes long to read. The uid says whose slot it is, and so which gear; a link says that the key opens
it. Nothing is printed otherwise. A repository's user has a uid below all slots, and may have one program run.
"""

import binascii
import posix  # and not os, which takes a third of this program's own time
import sys

BASE = "/var/lib/containers"
FIRST_UID = 2_000_000  # these three as in containers/slots.py, which a test sees to
RANGE = 65_536
FIRST_ADDRESS = 10
_CERT = "-cert-v01@openssh.com"
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@._+-")


def main(argv: list[str]) -> int:
    if len(argv) != 5 or not argv[1].isdigit():
        return 64
    _, uid, fingerprint, kind, value = argv
    slot, rest = divmod(int(uid) - FIRST_UID, RANGE)
    if kind.endswith(_CERT):
        fingerprint = _fingerprint(value)  # sshd's is that of the key alone
    name = fingerprint.removeprefix("SHA256:").replace("+", "-").replace("/", "_")
    if slot == -1:
        opened, options = _of_repository(rest, name), ["restrict"]
    else:
        gear = _gear(slot) if slot >= 0 and rest == 0 else ""
        opened = [_text(f"{BASE}/access/containers/{gear[:2]}/{gear}/{name}")] if gear else []
        options = ["restrict", "pty", *_ports(gear, slot)] if opened else []
    if [kind, value] not in [text.split() for text in opened]:
        return 0
    key = f"{kind} {value}"
    if kind.endswith(_CERT):
        # sshd knows a certificate by its authority. This very one is let in, as long as it is valid, and no other
        # of that authority: for each that comes sshd asks here again.
        authority, principals = _certificate(binascii.a2b_base64(value))
        if not all(each and _PLAIN.issuperset(each) for each in principals):
            return 0
        options.append("cert-authority")
        if principals:
            options.append(f'principals="{",".join(principals)}"')
        key = authority
    print(f"{','.join(options)} {key}")
    return 0


def _gear(slot: int) -> str:
    try:
        unit = posix.readlink(f"{BASE}/slots/{slot}").rpartition("/")[2]
        id = unit.removeprefix("ctr-").removesuffix(".service")
        posix.stat(f"{BASE}/units/{id[:2]}/{unit}")
    except OSError:
        return ""
    return id


def _of_repository(number: int, key: str) -> list[str]:
    """The keys behind the links of that name, to read and to write."""
    try:
        id = posix.readlink(f"{BASE}/git-users/{number}").rpartition("/")[2]
        if posix.stat(f"{BASE}/git/{id}").st_uid != FIRST_UID - RANGE + number:
            return []
    except OSError:
        return []
    return [_text(f"{BASE}/access/git/{way}/{id[:2]}/{id}/{key}") for way in ("read", "write")]


def _ports(gear: str, slot: int) -> list[str]:
    """Connections it may have made from this host: to the gear's own ports, published or not."""
    unit = _text(f"{BASE}/units/{gear[:2]}/ctr-{gear}.service").splitlines()
    facts = [(name, value) for name, _, value in (line.partition("=") for line in unit) if name.startswith("X-")]
    engine = dict(facts).get("X-ContainerEngine", "podman")
    targets: list[str] = []
    for line in _text(f"{BASE}/network").splitlines():
        name, _, network = line.partition(" ")
        if name == ("ipv4" if engine == "podman" else f"{engine}-ipv4"):
            targets.append(f"{_address(network.strip().partition('/')[0], slot + FIRST_ADDRESS)}:*")
    for fact, value in facts:
        # 8080:4000, 80:127.0.0.1:8080, 53:4001/udp. Another address of the host may have another program there.
        _, _, place = value.partition(":")
        address, _, port = place.rpartition(":")
        if fact == "X-PortMapping" and port.isdigit() and "[" not in address:
            targets.append(f"{address or '127.0.0.1'}:{port}")
            targets += [f"localhost:{port}"] if address in ("", "127.0.0.1") else []
    return ["port-forwarding", *(f'permitopen="{target}"' for target in targets)] if targets else []


def _address(network: str, number: int) -> str:
    value = int.from_bytes(bytes(map(int, network.split("."))), "big") + number
    return ".".join(map(str, value.to_bytes(4, "big")))


def _certificate(blob: bytes) -> tuple[str, list[str]]:
    """The authority's key, and the principals (PROTOCOL.certkeys). It was looked through when it was given."""
    at = 0

    def string() -> bytes:
        nonlocal at
        size = int.from_bytes(blob[at : at + 4], "big")
        at += 4 + size
        return blob[at - size : at]

    kind = string().decode()
    string()
    fields = 1 if "ed25519" in kind else 2
    for _ in range(fields + kind.startswith("sk-")):
        string()
    at += 12  # the serial number, what it certifies
    string()
    listed, principals = string(), list[str]()
    while listed:
        size = 4 + int.from_bytes(listed[:4], "big")
        principals.append(listed[4:size].decode(errors="replace"))
        listed = listed[size:]
    at += 16  # from when to when
    for _ in range(3):
        string()
    authority = string()
    size = int.from_bytes(authority[:4], "big")
    return f"{authority[4 : 4 + size].decode()} {_base64(authority)}", principals


def _fingerprint(value: str) -> str:
    import hashlib  # noqa: PLC0415 - 10 ms that most logins need not wait for

    return _base64(hashlib.sha256(binascii.a2b_base64(value)).digest()).rstrip("=")


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
