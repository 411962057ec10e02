"""Becoming known to another machine's agent: a key made here, a certificate from there.

An invitation names the authority it leads to, by its fingerprint. A handshake shows who is there before anything
is sent; where no certificate with that fingerprint stands behind it, nothing is.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from geard.failures import Invalid, Unauthenticated, Unavailable
from geard.request import Request
from geard.transport import known_hosts
from geard.transport.http import HttpTransport
from geard.transport.known_hosts import KnownHost, TlsPlace
from geard.transport.renewal import renewal
from geard.trust.bearers import Bearer, fingerprint, parse_bearer

CONNECT_SECONDS = 10.0


def join(name: str, address: str, port: int, invitation: Bearer, ask: Callable[[str], Request[Any]]) -> KnownHost:
    """Have the certificate that `invitation` is for, and keep it under `name`. `ask(csr)` is how it is asked for.

    Cut short and done again, it goes on with the key it made first. Raises Unauthenticated, Denied, Unavailable.
    """
    path = known_hosts.place_of(name)
    authority = authority_at(address, port, invitation.fingerprint)
    draft = path.with_name(f".{path.name}.key")
    key = _kept_key(draft)
    there = TlsPlace(name, address, port, authority, bearer=invitation.text)
    answer = _asked(there, ask(_csr(key, invitation.name)))
    known = _keep(name, address, port, invitation.name, key, answer, authority)
    draft.unlink(missing_ok=True)
    return known


def renew(name: str, known: KnownHost) -> KnownHost:
    """Have another certificate, for a new key, by the one that is there. Raises Unauthenticated, Unavailable."""
    there = known_hosts.tls_place(name, known)
    key = ec.generate_private_key(ec.SECP256R1())
    answer = _asked(there, renewal(_csr(key, known.as_name)))
    return _keep(name, known.address, known.port, known.as_name, key, answer, there.authority)


def authority_at(address: str, port: int, wanted: str) -> str:
    """The certificate (PEM) with the fingerprint `wanted`, as the other side shows it in its handshake.

    Nothing is sent beside the handshake. Raises Unavailable where nobody speaks TLS there, Unauthenticated where
    it is somebody else.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # its authority is found by its fingerprint, and believed afterwards alone
    where = f"{address}:{port}"
    try:
        with (
            socket.create_connection((address, port), CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=address) as line,
        ):
            shown = _chain(line)
    except (ssl.SSLError, TimeoutError) as error:
        why = getattr(error, "reason", None) or str(error)
        raise Unavailable(f"what answers at {where} does not speak TLS as an agent does: {why}") from None
    except OSError as error:
        raise Unavailable(
            f"nobody answers at {where}: {error.strerror or error}",
            hint="there: [agent] listen in /etc/geard/geard.toml; systemctl status geard",
        ) from None
    for der in shown:
        if fingerprint(der) == wanted:
            return ssl.DER_cert_to_PEM_cert(der)
    raise Unauthenticated(
        f"{where} is not the machine that this invitation is of; nothing was sent to it",
        hint="is the address right? somebody between here and there may be listening",
    )


def _chain(line: ssl.SSLSocket) -> list[bytes]:
    """The certificates the other side has sent, as DER. Public since Python 3.13, there before."""
    public: Callable[[], list[bytes] | None] | None = getattr(line, "get_unverified_chain", None)
    if public is not None:
        return public() or []
    inner: Any = getattr(line, "_sslobj")  # noqa: B009 - it is no public name
    found: list[Any] = inner.get_unverified_chain() or []
    return [ssl.PEM_cert_to_DER_cert(str(each.public_bytes())) for each in found]


def _asked(there: TlsPlace, request: Request[Any]) -> Any:
    transport = HttpTransport(there)
    try:
        return transport.send(request)
    finally:
        transport.close()


def _keep(
    name: str, address: str, port: int, as_name: str, key: ec.EllipticCurvePrivateKey, answer: Any, authority: str
) -> KnownHost:
    """Raises Unavailable for a certificate that is not of our key: it could not be used."""
    with suppress(ValueError, AttributeError):
        certificate = x509.load_pem_x509_certificate(answer.certificate.encode())
        if certificate.public_key() == key.public_key():
            known = KnownHost(
                address=address, port=port, as_name=as_name, expires=answer.expires, renew=answer.renew
            )
            known_hosts.save(name, known, answer.certificate, _pem(key), authority)
            return known
    raise Unavailable(f"{name} has given a certificate that is not for our key", hint="is it of another version?")


def _kept_key(path: Path) -> ec.EllipticCurvePrivateKey:
    with suppress(OSError, ValueError, TypeError):
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key
    key = ec.generate_private_key(ec.SECP256R1())
    known_hosts.write(path, _pem(key))
    return key


def _csr(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def parse_invitation(text: str) -> Bearer:
    """Raises Invalid."""
    found = parse_bearer(text.strip())
    if found is None or not found.fingerprint:
        raise Invalid(
            "that is no invitation", hint="it is what 'gear host invite NAME' prints, from geard-join. on"
        )
    return found
