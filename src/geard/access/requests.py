"""The words of letting others in."""

from __future__ import annotations

from typing import Literal

from geard.request import Answer, Request, Route
from geard.words import Word

GivenScope = Literal["read", "pull", "operate", "admin"]

_CSR = "-----BEGIN CERTIFICATE REQUEST-----\n…\n-----END CERTIFICATE REQUEST-----\n"


class GrantedToken(Answer):
    id: str
    scope: GivenScope
    expires: str = ""
    """RFC 3339; empty: never"""

    def text(self) -> str:
        return f"Token {self.id} holds scope {self.scope} {_until(self.expires)}"


class CreateToken(Request[GrantedToken]):
    """Let in whoever shows a token. Who asks makes its secret, and tells its digest alone."""

    route = Route("PUT", "/tokens/{id}", scope="admin", reach="machine")
    example = {"Id": "ci", "Digest": "0" * 64, "Scope": "operate", "Only": ["web-*"]}

    id: str
    digest: str
    """SHA-256 of the secret, 64 hexadecimal digits"""
    scope: GivenScope = "read"
    only: tuple[str, ...] = ()
    """patterns of the ids it may ask about; none: all"""
    seconds: int = 30 * 24 * 3_600
    """for which it holds; 0: until it is revoked"""
    replace: bool = False
    """take the place of another of that name"""


class Guest(Word):
    """One that was let in: a token, or a machine by its certificate."""

    name: str
    kind: Literal["token", "certificate", "invitation"]
    scope: str
    created: str
    only: tuple[str, ...] = ()
    expires: str = ""
    by: str = ""


class Guests(Answer):
    guests: tuple[Guest, ...]


class ListTokens(Request[Guests]):
    """The tokens of a machine; none of their secrets, which it does not know."""

    route = Route("GET", "/tokens", scope="admin", text=False, reach="machine")


class Revoked(Answer):
    id: str
    kind: str
    revoked: bool
    """False where there was none"""

    def text(self) -> str:
        return f"Revoked {self.kind} {self.id}" if self.revoked else f"There was no {self.kind} {self.id}"


class RevokeToken(Request[Revoked]):
    """Let in no more, at once; one that is not there is fine."""

    route = Route("DELETE", "/tokens/{id}", scope="admin", reach="machine")

    id: str


class Invitation(Answer):
    id: str
    fingerprint: str
    """of the authority that it leads to"""
    addresses: tuple[str, ...]
    """ADDRESS:PORT, where the agent is reached"""
    name: str
    """the host's own"""
    expires: str
    answers: bool = True
    """whether the agent answers at the first of these just now"""

    def text(self) -> str:
        return f"{self.id} may join until {self.expires}"


class InviteHost(Request[Invitation]):
    """Have another machine be given a certificate, once, within an hour. Who asks makes its secret."""

    route = Route("PUT", "/hosts/{id}/invitation", scope="admin", reach="machine")
    example = {"Id": "h2", "Digest": "0" * 64}

    id: str
    digest: str
    """SHA-256 of the secret, 64 hexadecimal digits"""
    scope: GivenScope = "operate"
    only: tuple[str, ...] = ()


class HostCertificate(Answer):
    id: str
    certificate: str
    """PEM"""
    authority: str
    """PEM"""
    expires: str
    renew: str
    """from when on another should be asked for; RFC 3339, both"""

    def text(self) -> str:
        return f"{self.id} has a certificate until {self.expires}"


class JoinHost(Request[HostCertificate]):
    """Have the certificate one was invited to. Again with the same key is fine; with another, it was used."""

    route = Route("POST", "/hosts/{id}/certificate", scope="join", reach="machine")
    example = {"Id": "h2", "Csr": _CSR}

    id: str
    csr: str
    """PKCS #10 in PEM, of a P-256 key"""


class RenewCertificate(Request[HostCertificate]):
    """Have another certificate in place of the one that is shown, which holds until its end all the same."""

    route = Route("POST", "/certificate", scope="read", reach="shown")
    example = {"Csr": _CSR}

    csr: str


class GiveUpCertificate(Request[Revoked]):
    """Have the certificate that is shown revoked."""

    route = Route("DELETE", "/certificate", scope="read", reach="shown")


class ListHosts(Request[Guests]):
    """The machines that may ask this agent by a certificate, and those that are invited."""

    route = Route("GET", "/hosts", scope="admin", text=False, reach="machine")


class RevokeHost(Request[Revoked]):
    """Let a machine in no more, at once, nor have it join; one that is not there is fine."""

    route = Route("DELETE", "/hosts/{id}", scope="admin", reach="machine")

    id: str


class AuthorityCertificate(Answer):
    certificate: str
    """PEM"""

    def text(self) -> str:
        return self.certificate.rstrip("\n")


class GetAuthority(Request[AuthorityCertificate]):
    """The certificate of the machine's authority: what `curl --cacert` takes."""

    route = Route("GET", "/authority", scope="read", reach="shown")


def _until(expires: str) -> str:
    return f"until {expires}" if expires else "until it is revoked"
