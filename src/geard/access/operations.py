"""Letting in and turning out. A grant acts with the next request: the agent reads it from disk."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from geard.access.requests import (
    AuthorityCertificate,
    CreateToken,
    GetAuthority,
    GiveUpCertificate,
    GrantedToken,
    Guest,
    Guests,
    HostCertificate,
    Invitation,
    InviteHost,
    JoinHost,
    ListHosts,
    ListTokens,
    RenewCertificate,
    Revoked,
    RevokeHost,
    RevokeToken,
)
from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.failures import AlreadyExists, Denied, Invalid, PreconditionFailed, Unauthenticated
from geard.host.addresses import addresses
from geard.host.paths import Paths
from geard.host.storage import Changes, locked
from geard.identifiers import DEFAULT_PORT, parse_place
from geard.trust import grants
from geard.trust.bearers import check_digest, fingerprint
from geard.trust.grants import Grant, Kind
from geard.trust.listening import doors_of
from geard.trust.settings import AgentSettings

if TYPE_CHECKING:
    from geard.trust.authority import Authority

JOIN_SECONDS = 3_600
ANSWER_SECONDS = 1.0
EARLIER = 3
"""certificates that hold beside a new one: who is cut off before that has arrived still has one of them"""
LONGEST_SECONDS = 10 * 366 * 24 * 3_600


@operation
async def create_token(request: CreateToken, work: Work) -> GrantedToken:
    check_digest(request.digest)
    grants.check_only(request.only)
    grants.place(work.host.paths, "token", request.id)
    if not 0 <= request.seconds <= LONGEST_SECONDS:
        raise Invalid(f"a token of {request.seconds} s", hint="ten years at most; 0: until it is revoked")
    grant = Grant(
        name=request.id,
        scope=request.scope,
        only=request.only,
        created=grants.now(),
        expires=grants.until(request.seconds),
        by=work.asker.name,
        proofs=(request.digest,),
    )

    def create() -> None:
        with Changes() as changes, locked(grants.prepare(work.host.paths, changes, "token")):
            known = grants.read(grants.place(work.host.paths, "token", request.id))
            if known is not None and known.proofs != grant.proofs and not request.replace:
                raise AlreadyExists(
                    f"there is a token {request.id}",
                    hint="--replace puts another in its place; or gear token revoke",
                )
            grants.keep(work.host.paths, changes, "token", grant)

    await work.on_disk(create)
    return GrantedToken(id=request.id, scope=request.scope, expires=grant.expires)


@operation
async def list_tokens(request: ListTokens, work: Work) -> Guests:
    return Guests(guests=tuple(await work.on_disk(_guests, work.host.paths, "token")))


@operation
async def revoke_token(request: RevokeToken, work: Work) -> Revoked:
    return await _revoke(work, "token", request.id)


@operation
async def invite_host(request: InviteHost, work: Work) -> Invitation:
    check_digest(request.digest)
    grants.check_only(request.only)
    grants.place(work.host.paths, "invitation", request.id)
    doors = await work.on_disk(lambda: doors_of(work.host.settings.section(AgentSettings), addresses()))
    if not doors:
        raise PreconditionFailed(
            "this machine's agent listens to no other machine",
            hint=f'[agent] listen = ["0.0.0.0:{DEFAULT_PORT}"] in {work.host.settings.path},'
            " then: systemctl enable --now geard",
        )
    grant = Grant(
        name=request.id,
        scope=request.scope,
        only=request.only,
        created=grants.now(),
        expires=grants.until(JOIN_SECONDS),
        by=work.asker.name,
        proofs=(request.digest,),
    )

    def invite() -> str:
        ours = _authority(work.host.paths)
        with Changes() as changes, locked(grants.prepare(work.host.paths, changes, "invitation")):
            grants.keep(work.host.paths, changes, "invitation", grant)
        return ours.fingerprint

    return Invitation(
        id=request.id,
        fingerprint=await work.on_disk(invite),
        addresses=doors,
        name=socket.gethostname(),
        expires=grant.expires,
        answers=await _answers(doors[0]),
    )


async def _answers(door: str) -> bool:
    """Whether anybody takes connections there: ADDRESS:PORT."""
    place = parse_place(door)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(place.host.strip("[]"), place.port)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    return True


@operation
async def join_host(request: JoinHost, work: Work) -> HostCertificate:
    if work.asker.credential != f"invitation {request.id}":
        raise Denied(f"{work.asker.name} is not for {request.id}")
    return await work.on_disk(_join, work.host.paths, request)


def _join(paths: Paths, request: JoinHost) -> HostCertificate:
    from geard.trust.authority import key_digest, parse_csr  # noqa: PLC0415 - 15 MB that few agents need

    csr = parse_csr(request.csr)
    with Changes() as changes, locked(grants.prepare(paths, changes, "invitation")):
        invitation = grants.read(grants.place(paths, "invitation", request.id))
        if invitation is None or invitation.expired(datetime.now(UTC)):
            raise Unauthenticated("this invitation was revoked, or has expired", hint="gear host invite NAME")
        if invitation.used not in ("", key_digest(csr)):
            raise Denied(
                f"the invitation of {request.id} was used already",
                hint=f"if not by you: gear host revoke {request.id}, there; then invite anew",
            )
        # The invitation is spent first: who is cut short after this goes on with the same key, and with no other.
        used = msgspec.structs.replace(invitation, used=key_digest(csr))
        grants.keep(paths, changes, "invitation", used)
        changes.sync()
        with locked(grants.prepare(paths, changes, "certificate")):
            return _certify(paths, changes, request.csr, used, ())


@operation
async def renew_certificate(request: RenewCertificate, work: Work) -> HostCertificate:
    name = _own(work)

    def renew() -> HostCertificate:
        with Changes() as changes, locked(grants.prepare(work.host.paths, changes, "certificate")):
            known = grants.read(grants.place(work.host.paths, "certificate", name))
            if known is None:
                raise Unauthenticated("this certificate was revoked", hint="gear host invite NAME")
            return _certify(work.host.paths, changes, request.csr, known, known.proofs[:EARLIER])

    return await work.on_disk(renew)


def _certify(
    paths: Paths, changes: Changes, csr: str, granted: Grant, earlier: tuple[str, ...]
) -> HostCertificate:
    """A certificate for what is granted, beside the `earlier` ones. The caller holds the certificates' lock."""
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 - as above

    from geard.trust.authority import RENEW_DAYS, parse_csr  # noqa: PLC0415 - as above

    ours = _authority(paths)
    made = ours.for_client(parse_csr(csr), granted.name)
    expires = made.not_valid_after_utc
    grants.keep(
        paths,
        changes,
        "certificate",
        Grant(
            name=granted.name,
            scope=granted.scope,
            only=granted.only,
            created=granted.created,
            expires=grants.rfc3339(expires),
            by=granted.by,
            proofs=(fingerprint(made.public_bytes(Encoding.DER)), *earlier),
        ),
    )
    return HostCertificate(
        id=granted.name,
        certificate=made.public_bytes(Encoding.PEM).decode(),
        authority=ours.pem.decode(),
        expires=grants.rfc3339(expires),
        renew=grants.rfc3339(expires - timedelta(days=RENEW_DAYS)),
    )


@operation
async def give_up_certificate(request: GiveUpCertificate, work: Work) -> Revoked:
    return await _revoke(work, "certificate", _own(work))


@operation
async def list_hosts(request: ListHosts, work: Work) -> Guests:
    def look() -> list[Guest]:
        invited = _guests(work.host.paths, "invitation", open_ones=True)
        return _guests(work.host.paths, "certificate") + invited

    return Guests(guests=tuple(await work.on_disk(look)))


@operation
async def revoke_host(request: RevokeHost, work: Work) -> Revoked:
    invited = await _revoke(work, "invitation", request.id)
    found = await _revoke(work, "certificate", request.id)
    return found if found.revoked else msgspec.structs.replace(invited, kind="host")


@operation
async def get_authority(request: GetAuthority, work: Work) -> AuthorityCertificate:
    ours = await work.on_disk(_authority, work.host.paths)
    return AuthorityCertificate(certificate=ours.pem.decode())


async def _revoke(work: Work, kind: Kind, name: str) -> Revoked:
    grants.place(work.host.paths, kind, name)

    def revoke() -> bool:
        with Changes() as changes:
            return grants.revoke(work.host.paths, changes, kind, name)

    return Revoked(id=name, revoked=await work.on_disk(revoke), kind=kind)


def _own(work: Work) -> str:
    """The name in the certificate that the asker shows. Raises Denied where it shows none."""
    kind, _, name = work.asker.credential.partition(" ")
    if kind != "certificate":
        raise Denied(f"{work.asker.name} shows no certificate of this agent's authority")
    return name


def _guests(paths: Paths, kind: Kind, *, open_ones: bool = False) -> list[Guest]:
    """Those that are kept, expired ones too; with `open_ones`, only those that can be used yet."""
    now = datetime.now(UTC)
    return [
        Guest(
            name=each.name,
            kind=kind,
            scope=each.scope,
            only=each.only,
            created=each.created,
            expires=each.expires,
            by=each.by,
        )
        for each in grants.granted(paths, kind)
        if not (open_ones and (each.used or each.expired(now)))
    ]


def _authority(paths: Paths) -> Authority:
    from geard.trust.authority import authority  # noqa: PLC0415 - as above

    return authority(paths, socket.gethostname())
