"""The agent's own authority: who holds a certificate of it was let in by this machine, and by no other.

P-256 keys, which every TLS library of the last ten years takes. The authority's key and the agent's never leave
the machine; a client makes its own and sends a request for its certificate (PKCS #10, RFC 2986).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from geard.failures import Invalid, Unavailable
from geard.host.paths import Paths
from geard.host.storage import Changes, locked
from geard.trust.bearers import fingerprint

AUTHORITY_DAYS = 3_650
DAYS = 90
RENEW_DAYS = 30
"""so long before its end a certificate is renewed"""
_SLACK = timedelta(hours=1)  # clocks differ
_COMMON_NAME_LIMIT = 64  # RFC 5280, ub-common-name


@dataclass(frozen=True)
class Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.certificate.public_bytes(serialization.Encoding.DER))

    def for_client(self, request: x509.CertificateSigningRequest, name: str) -> x509.Certificate:
        return self._certificate(request.public_key(), name, ExtendedKeyUsageOID.CLIENT_AUTH, [])

    def for_server(self, key: ec.EllipticCurvePublicKey, names: Sequence[str]) -> x509.Certificate:
        return self._certificate(key, names[0], ExtendedKeyUsageOID.SERVER_AUTH, [_san(name) for name in names])

    def _certificate(
        self,
        key: CertificatePublicKeyTypes,
        name: str,
        usage: x509.ObjectIdentifier,
        names: list[x509.GeneralName],
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        assert isinstance(key, ec.EllipticCurvePublicKey)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_common(name))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SLACK)
            .not_valid_after(min(now + timedelta(days=DAYS), self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def place(paths: Paths) -> Path:
    return paths.state / "authority.pem"


def authority(paths: Paths, name: str) -> Authority:
    """This machine's, made when it is needed first. Raises Unavailable where its file is damaged."""
    path = place(paths)
    if not path.exists():
        with Changes() as changes:
            changes.folder(paths.state, 0o755)
            with locked(paths.state):
                if not path.exists():
                    made = make(name)
                    changes.write(path, _private(made.key) + made.pem, 0o600)
    text = path.read_bytes()
    try:
        key = serialization.load_pem_private_key(text, None)
        certificate = x509.load_pem_x509_certificate(text)
    except ValueError:
        raise Unavailable(
            f"{path} is damaged", hint="bring it back from a backup; or remove it, and invite every host anew"
        ) from None
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Authority(key, certificate)


def make(name: str) -> Authority:
    """A new authority, kept nowhere."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = _common(f"geard authority of {name}")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, certificate)


def server_bundle(authority: Authority, names: Sequence[str]) -> bytes:
    """A new key, a certificate for those names and addresses, and the authority's, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.for_server(key.public_key(), names)
    return _private(key) + certificate.public_bytes(serialization.Encoding.PEM) + authority.pem


def parse_csr(text: str) -> x509.CertificateSigningRequest:
    """Raises Invalid: it must be signed by its own key, which must be one of P-256."""
    try:
        request = x509.load_pem_x509_csr(text.encode())
        key = request.public_key()
        good = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature):
        raise Invalid("this is no request for a certificate (PKCS #10, PEM)") from None
    except Exception as error:  # noqa: BLE001 - cryptography's UnsupportedAlgorithm is of no common kind
        raise Invalid(f"this request for a certificate cannot be used: {type(error).__name__}") from None
    if not good or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Invalid("the request for a certificate must be of a P-256 key, and signed by it")
    return request


def key_digest(request: x509.CertificateSigningRequest) -> str:
    """Which key a request is of."""
    der = request.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return fingerprint(der)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _common(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_COMMON_NAME_LIMIT])])


def _san(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
