"""Where other machines reach this agent, and the certificate it shows them."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from geard.failures import Invalid
from geard.host.addresses import Address
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, read_text, sweep
from geard.trust.bearers import fingerprint
from geard.trust.grants import rfc3339
from geard.trust.settings import AgentSettings, parse_listen, parse_name
from geard.words import Word, decode, encode

Names = tuple[str, ...]
_MARK = "# geard: "
_BEGIN = "-----BEGIN CERTIFICATE-----"
SHOWN_FOR = timedelta(days=60)
"""then the agent's certificate is made anew; it holds for 30 days more"""
_BRIDGES = ("geard0", "geard1")
"""between the host and its gears, which the host's rules keep from its ports"""


def wanted(listen: Sequence[str], known: Sequence[Address]) -> list[tuple[str, int]]:
    """The addresses and ports to bind. Pure.

    All addresses are bound one by one, those that come later too: loopback has the same port, and is another door.
    """
    found: dict[tuple[str, int], None] = {}
    for text in listen:
        address, port = parse_listen(text)
        if not ipaddress.ip_address(address).is_unspecified:
            found[address, port] = None
            continue
        for each in known:
            if (":" in each.text) == (":" in address) and each.interface not in _BRIDGES:
                found[each.text, port] = None
    return list(found)


def names_of(settings: AgentSettings, listen: Sequence[str], known: Sequence[Address]) -> Names:
    """What the agent's certificate is for: the host's name, what the settings say, its addresses. Pure but for the
    host's name.
    """
    places = [address for address, _ in wanted(listen, known)]
    others = [each.text for each in known if each.interface not in _BRIDGES]
    return tuple(dict.fromkeys([socket.gethostname().lower(), *map(parse_name, settings.names), *places, *others]))


def doors_of(settings: AgentSettings, known: Sequence[Address]) -> Names:
    """What another machine may give to `gear host add`, the likeliest first."""
    places = wanted(settings.listen, known)
    return tuple(f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address, port in places)


class Shown(Word):
    """What the file of the agent's certificate says of it in its first line."""

    names: Names
    renew: str
    """from when on it is to be made anew; RFC 3339"""
    authority: str
    """the fingerprint of whose it is"""


def server_file(paths: Paths, names: Names) -> tuple[Path, str]:
    """The file with the agent's key and certificate, made anew where it is not for those names or ends soon; and
    the authority's certificate.

    Raises Unavailable, OSError.
    """
    path = paths.state / "server.pem"
    known, now = read_text(path) or "", datetime.now(UTC)
    if (ours := authority_shown(paths)) and still_good(known, ours, names, now):
        return path, ours
    from geard.trust import authority as authorities  # noqa: PLC0415 - 11 MB that are needed once in two months

    made = authorities.authority(paths, names[0])
    with locked(paths.state), Changes() as changes:
        sweep(paths.state)
        renew = rfc3339(now + SHOWN_FOR)
        shown = Shown(names=names, renew=renew, authority=made.fingerprint)
        text = f"{_MARK}{encode(shown).decode()}\n{authorities.server_bundle(made, names).decode()}"
        changes.write(path, text, 0o600)
    return path, made.pem.decode()


def authority_shown(paths: Paths) -> str:
    """The certificate (PEM) of this machine's authority; empty where there is none yet."""
    text = read_text(paths.state / "authority.pem") or ""
    return text[text.index(_BEGIN) :] if _BEGIN in text else ""


def still_good(file: str, authority: str, names: Names, now: datetime) -> bool:
    """Whether the agent's certificate is of that authority (PEM), for just these names, not near its end. Pure."""
    try:
        shown = decode(Shown, file.partition("\n")[0].removeprefix(_MARK))
        ours = fingerprint(ssl.PEM_cert_to_DER_cert(authority))
        left = datetime.fromisoformat(shown.renew) - now
    except (Invalid, ValueError, TypeError):
        return False
    # One that has longer was made when the clock was ahead: to others it does not hold yet.
    fresh = timedelta(0) < left <= SHOWN_FOR + timedelta(hours=1)
    return fresh and shown.authority == ours and set(shown.names) == set(names) and authority.strip() in file
