"""Other machines at the agent's door: who gets in, who does not, and for how long."""

from __future__ import annotations

import http.client
import logging
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.daemon.afar import Afar, agent_afar, answers, free_port, until
from tests.daemon.belfry import UnixConnection

from geard.daemon import admission, connections, renewing
from geard.host.storage import Changes
from geard.transport import known_hosts
from geard.trust import authority, grants

IMAGE = "docker.io/geard/sample"


@pytest.fixture
def afar(tmp_path: Path) -> Iterator[Afar]:
    with agent_afar(tmp_path) as found:
        yield found


def signed_by(ours: authority.Authority, name: str, path: Path) -> Path:
    """A file with a key and a certificate for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    made = ours.for_client(request, name)
    return written(key, made, path)


def written(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, path: Path) -> Path:
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_a_machine_that_joined_manages_gears(afar: Afar) -> None:
    said = afar.join()
    assert said.code == 0, said
    assert "h1 is known here, and knows this machine as laptop" in said.out
    assert (afar.away / "h1").stat().st_mode & 0o777 == 0o600
    assert afar.gear("install", IMAGE, "h1/web").code == 0
    assert "web" in afar.gear("list", "-a", "h1", "-o", "name").out
    assert "Container web" in afar.gear("status", "h1/web").out
    assert [each.name for each in afar.away.iterdir()] == ["h1"]
    assert "laptop" in afar.root("host", "guests")


def test_nothing_is_kept_by_which_somebody_could_come_in(afar: Afar) -> None:
    token, invitation = afar.token(), afar.invite()
    assert afar.join(invitation=invitation).code == 0
    secrets = [word.encode() for word in (*token.split("."), *invitation.split(".")) if len(word) == 43]
    secrets.remove(fingerprint_of(afar).encode())
    kept = {path: path.read_bytes() for path in afar.host.folder.rglob("*") if path.is_file()}
    assert len(secrets) == 2
    assert not [path for path, text in kept.items() for secret in secrets if secret in text]
    for path in afar.host.paths.state.rglob("*"):
        assert path.stat().st_mode & 0o777 in (0o600, 0o700), path


def fingerprint_of(afar: Afar) -> str:
    return authority.authority(afar.host.paths, "h1").fingerprint


def test_a_token_comes_in_by_tls_and_holds_its_scope(afar: Afar) -> None:
    token = afar.token("ci", "--scope", "read")
    assert afar.ask("GET", "/containers?all=1", token=token).status == 200
    refused = afar.ask("PUT", "/container/web", {"Image": IMAGE}, token=token)
    assert (refused.status, refused.json["Message"]) == (403, "token ci may not PUT /container/web")


def test_without_certificate_and_token_nobody_comes_in(afar: Afar) -> None:
    refused = afar.ask("GET", "/containers")
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "gear host invite" in refused.json["Hint"]


@pytest.mark.parametrize(
    "token",
    [
        "geard-token.ci." + "A" * 43,
        "geard-token.nobody." + "A" * 43,
        "geard-token.../../etc/passwd." + "A" * 43,
        "geard-join.ci." + "A" * 43 + "." + "A" * 43,
        "x",
        "",
    ],
)
def test_a_token_that_is_none_is_refused(afar: Afar, token: str) -> None:
    afar.token("ci")
    assert afar.ask("GET", "/containers", Authorization=f"Bearer {token}").status == 401


def test_one_tokens_secret_is_no_other_tokens(afar: Afar) -> None:
    ci, ops = afar.token("ci"), afar.token("ops", "--scope", "admin")
    mixed = ".".join([*ops.split(".")[:2], ci.split(".")[2]])
    assert afar.ask("GET", "/containers", token=mixed).status == 401


def test_other_schemes_are_refused(afar: Afar) -> None:
    assert afar.ask("GET", "/containers", Authorization="Basic cm9vdDpyb290").status == 401


def test_a_revoked_token_is_refused_at_once_on_a_connection_that_is_open(afar: Afar) -> None:
    token, line = afar.token(), afar.connect()
    assert afar.ask("GET", "/containers", token=token, on=line).status == 200
    afar.root("token", "revoke", "ci")
    assert ended_or_refused(afar, line, token) in ("", "token ci is not known here, or was revoked")


def ended_or_refused(afar: Afar, line: http.client.HTTPConnection, token: str) -> str:
    """Why a request on that connection was refused; empty where it was ended before that."""
    try:
        refused = afar.ask("GET", "/containers", token=token, on=line)
    except (ConnectionError, ssl.SSLError, http.client.HTTPException):
        return ""
    assert (refused.status, refused.json["Kind"]) == (401, "Unauthenticated")
    return str(refused.json["Message"])


def test_an_expired_token_is_refused_at_once_on_a_connection_that_is_open(afar: Afar) -> None:
    token, line = afar.token("ci", "--expires", "1h"), afar.connect()
    assert afar.ask("GET", "/containers", token=token, on=line).status == 200
    later = mock.Mock(wraps=datetime)
    later.now.return_value = datetime.now(UTC) + timedelta(hours=1, seconds=1)
    with mock.patch.object(grants, "datetime", later):
        assert ended_or_refused(afar, line, token) in ("", "token ci has expired")


@pytest.mark.parametrize("by", ["token", "certificate"])
def test_a_stream_ends_when_what_let_it_in_is_revoked(afar: Afar, by: str) -> None:
    assert afar.root("install", IMAGE, "web")
    token = afar.token() if by == "token" else ""
    if by == "certificate":
        assert afar.join().code == 0
    line = afar.connect(afar.away / "h1" if by == "certificate" else None)
    line.request(
        "GET", "/container/web/log?follow=true", headers={"Authorization": f"Bearer {token}"} if token else {}
    )
    response = line.getresponse()
    assert response.status == 200
    ended = threading.Event()

    def read() -> None:
        try:
            while response.readline():
                pass
        except TimeoutError:
            return  # on this side; it has not ended
        except (OSError, ssl.SSLError):
            pass
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert not ended.wait(0.3)
    afar.root(*(("token", "revoke", "ci") if by == "token" else ("host", "revoke", "laptop")))
    assert ended.wait(10)
    reader.join()


def test_a_link_of_a_tokens_holder_lasts_while_the_token_does(afar: Afar) -> None:
    """Its stream ends with the token, and is that of no stranger, who would be let go after a while."""
    assert afar.root("install", IMAGE, "web")
    token = afar.token("ci", "--scope", "operate", "--only", "web")
    asked = {"Path": "/container/web/log", "Query": "follow=true"}
    made = afar.ask("POST", "/content-tokens", asked, token=token, Accept="application/json")
    assert made.status == 200, made
    line = afar.connect()
    with mock.patch.object(connections.Handler, "take_time") as welcomed:
        line.request("GET", made.json["Path"])
        response = line.getresponse()
        assert response.status == 200 and welcomed.called
    ended = threading.Event()

    def read() -> None:
        try:
            while response.readline():
                pass
        except TimeoutError:
            return  # on this side; it has not ended
        except (OSError, http.client.HTTPException):
            pass
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert not ended.wait(0.3)
    afar.root("token", "revoke", "ci")
    assert ended.wait(10)
    reader.join()
    assert afar.ask("GET", made.json["Path"]).status == 403


def test_a_change_by_a_link_is_its_makers_to_follow(afar: Afar) -> None:
    token = afar.token("ci", "--scope", "operate")
    asked = {"Method": "PUT", "Path": "/environment/web", "Body": "{}"}
    made = afar.ask("POST", "/content-tokens", asked, token=token, Accept="application/json").json
    assert afar.ask("POST", made["Path"]).status == 200
    assert afar.ask("GET", f"/request/{made['RequestId']}/report", token=token).status == 200
    other = afar.token("other", "--scope", "operate")
    assert afar.ask("GET", f"/request/{made['RequestId']}/report", token=other).status == 404


def test_a_revoked_certificate_is_refused_at_once(afar: Afar) -> None:
    assert afar.join().code == 0
    line = afar.connect(afar.away / "h1")
    assert afar.ask("GET", "/containers", on=line).status == 200
    assert afar.root("host", "revoke", "laptop") == "Revoked certificate laptop\n"
    said = afar.gear("list", "h1")
    assert (said.code, said.err.splitlines()[0]) == (
        4,
        "Error: certificate laptop is not known here, or was revoked",
    )


def test_a_certificate_of_our_authority_that_nobody_was_given_is_refused(afar: Afar, tmp_path: Path) -> None:
    """As one for another name, or one that was made with a stolen key and is in no record."""
    assert afar.join().code == 0
    ours = authority.authority(afar.host.paths, "h1")
    for name in ("laptop", "somebody"):
        file = signed_by(ours, name, tmp_path / "file.pem")
        assert afar.ask("GET", "/containers", certificate=file).status == 401
    file = signed_by(ours, "../authority.pem", tmp_path / "file.pem")
    assert afar.ask("GET", "/containers", certificate=file).status in (400, 401)


def test_a_certificate_of_another_authority_is_refused_in_the_handshake(afar: Afar, tmp_path: Path) -> None:
    assert afar.join().code == 0
    for other in (authority.make("h1"), authority.make("geard")):
        assert refused_in_handshake(afar, signed_by(other, "laptop", tmp_path / "other.pem"))


def test_a_certificate_signed_by_itself_is_refused_in_the_handshake(afar: Afar, tmp_path: Path) -> None:
    itself = authority.make("laptop")
    assert refused_in_handshake(afar, written(itself.key, itself.certificate, tmp_path / "self.pem"))


def test_an_expired_certificate_is_refused_in_the_handshake(afar: Afar, tmp_path: Path) -> None:
    ours = authority.authority(afar.host.paths, "h1")
    with mock.patch.object(authority, "DAYS", 0), mock.patch.object(authority, "_SLACK", timedelta(days=2)):
        file = signed_by(ours, "laptop", tmp_path / "over.pem")
    until(lambda: refused_in_handshake(afar, file))


def test_the_agents_own_certificate_lets_nobody_in(afar: Afar) -> None:
    assert refused_in_handshake(afar, afar.host.paths.state / "server.pem")


def refused_in_handshake(afar: Afar, certificate: Path) -> bool:
    """With TLS 1.3 a client is told when it reads first."""
    try:
        afar.ask("GET", "/version", certificate=certificate)
    except (ssl.SSLError, ConnectionError, OSError):
        return True
    return False


def test_tls_1_2_is_refused(afar: Afar) -> None:
    context = afar.context(version=ssl.TLSVersion.TLSv1_2)
    with (
        socket.create_connection(("127.0.0.1", afar.port), 5) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_plain_http_is_refused(afar: Afar) -> None:
    with socket.create_connection(("127.0.0.1", afar.port), 5) as plain:
        plain.sendall(b"GET /containers HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            answer = plain.recv(1000)
        except ConnectionError:
            answer = b""
    assert b"HTTP/1.1" not in answer


def test_a_slow_handshake_holds_up_nobody(afar: Afar) -> None:
    token = afar.token()
    slow = [socket.create_connection(("127.0.0.1", afar.port), 5) for _ in range(20)]
    try:
        for each in slow:
            each.sendall(b"\x16\x03\x01\x02")  # the first bytes of one, and no more
        assert afar.ask("GET", "/containers", token=token).status == 200
    finally:
        for each in slow:
            each.close()


def test_so_many_handshakes_from_one_place(afar: Afar) -> None:
    slow = [socket.create_connection(("127.0.0.1", afar.port), 5) for _ in range(40)]
    try:

        def closed() -> int:
            count = 0
            for each in slow:
                each.settimeout(0.02)
                try:
                    count += each.recv(1) == b""
                except TimeoutError:
                    pass
                except ConnectionError:
                    count += 1
            return count

        until(lambda: 8 <= closed() <= 9)  # the fixture's own look may still count
    finally:
        for each in slow:
            each.close()


def test_a_page_of_another_site_may_not_use_a_browsers_certificate(afar: Afar) -> None:
    assert afar.join().code == 0
    certificate = afar.away / "h1"
    reply = afar.ask("DELETE", "/container/web", certificate=certificate, Origin="https://evil.example")
    assert reply.status == 403
    # git says its language as browsers do, and calls this machine as it is told to.
    listing = "/git/nosuch/info/refs?service=git-upload-pack"
    reply = afar.ask("GET", listing, certificate=certificate, Host="h1.example", Accept_Language="C, *;q=0.9")
    assert (reply.status, reply.text) == (
        404,
        "there is no repository nosuch here (gear list-repos shows which there are)\n",
    )
    reply = afar.ask("GET", listing, certificate=certificate, Host="h1.example", Origin="https://evil.example")
    assert reply.status == 403
    reply = afar.ask("GET", listing, certificate=certificate, Host="h1.example", Sec_Fetch_Site="cross-site")
    assert reply.status == 403
    reply = afar.ask("GET", "/containers", certificate=certificate, Host="h1.example", Accept_Language="C")
    assert reply.status == 403


# --- joining ---


def test_an_invitation_works_once(afar: Afar) -> None:
    invitation = afar.invite()
    assert afar.join(invitation=invitation).code == 0
    said = afar.join("h2", invitation=invitation)
    assert (said.code, said.err.splitlines()[0]) == (4, "Error: the invitation of laptop was used already")
    assert not (afar.away / "h2").exists()
    assert afar.gear("list", "h1").code == 0


def test_of_two_at_once_one_joins(afar: Afar) -> None:
    from geard.access.requests import JoinHost
    from geard.failures import Denied
    from geard.transport import joining

    invitation, codes = joining.parse_invitation(afar.invite()), list[str]()
    barrier = threading.Barrier(4)

    def join(name: str) -> None:
        barrier.wait()
        try:
            joining.join(
                name, "127.0.0.1", afar.port, invitation, lambda csr: JoinHost(id=invitation.name, csr=csr)
            )
            codes.append("joined")
        except Denied:
            codes.append("denied")

    with mock.patch.object(known_hosts, "folder", return_value=afar.away):
        threads = [threading.Thread(target=join, args=(f"h{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(codes) == ["denied", "denied", "denied", "joined"]


def test_who_was_cut_off_joins_again_with_the_same_key(afar: Afar) -> None:
    """The agent has answered; what was to be written here is not."""
    invitation = afar.invite()
    with mock.patch.object(known_hosts, "save", side_effect=KeyboardInterrupt):
        assert afar.join(invitation=invitation).code == 130
    assert not (afar.away / "h1").exists()
    assert afar.join(invitation=invitation).code == 0
    assert afar.gear("list", "h1").code == 0


def test_an_invitation_expires(afar: Afar) -> None:
    invitation = afar.invite()
    later = mock.Mock(wraps=datetime)
    later.now.return_value = datetime.now(UTC) + timedelta(hours=1, seconds=1)
    with mock.patch.object(grants, "datetime", later):
        said = afar.join(invitation=invitation)
    assert (said.code, said.err.splitlines()[0]) == (4, "Error: invitation laptop has expired")


def test_an_invitation_is_good_for_nothing_else(afar: Afar) -> None:
    invitation = afar.invite()
    for method, target in (("GET", "/containers"), ("GET", "/version"), ("POST", "/hosts/other/certificate")):
        body = {"Csr": "x"} if method == "POST" else None
        assert afar.ask(method, target, body, token=invitation).status == 403


def test_a_man_in_the_middle_is_told_nothing(afar: Afar, tmp_path: Path) -> None:
    """Somebody else answers at the address: no byte of a request goes to them."""
    other = authority.make("evil")
    bundle = tmp_path / "evil.pem"
    bundle.write_bytes(authority.server_bundle(other, ["127.0.0.1"]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle)
    heard = list[bytes]()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            for _ in range(1):
                connection, _ = listener.accept()
                try:
                    with context.wrap_socket(connection, server_side=True) as line:
                        heard.append(line.recv(10_000))
                except (ssl.SSLError, OSError):
                    heard.append(b"")

        thread = threading.Thread(target=listen)
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        said = afar.gear("host", "add", "h1", address, stdin=afar.invite() + "\n")
        thread.join(10)
    assert said.code == 4
    assert "is not the machine that this invitation is of; nothing was sent to it" in said.err
    assert heard == [b""]
    assert not (afar.away / "h1").exists()


def test_a_machine_that_was_set_up_anew_is_not_believed(afar: Afar) -> None:
    assert afar.join().code == 0
    for name in ("authority.pem", "server.pem"):
        (afar.host.paths.state / name).unlink()
    known = (afar.away / "h1").read_text()
    other = authority.make("other").pem.decode()
    (afar.away / "h1").write_text(known[: known.rindex("-----BEGIN CERTIFICATE-----")] + other)
    said = afar.gear("list", "h1")
    assert said.code == 4
    assert "is not the machine that was joined" in said.err


def test_a_certificate_that_does_not_hold_yet_is_told_with_the_clock(afar: Afar, tmp_path: Path) -> None:
    """The clock there was ahead when it was made, or the one here was set back."""
    assert afar.join().code == 0
    ours = authority.authority(afar.host.paths, "h1")
    with mock.patch.object(authority, "_SLACK", timedelta(days=-2)):
        (tmp_path / "ahead.pem").write_bytes(authority.server_bundle(ours, ["127.0.0.1"]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ahead.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            line, _ = listener.accept()
            with suppress(OSError), context.wrap_socket(line, server_side=True) as greeted:
                greeted.recv(1)

        thread = threading.Thread(target=greet)
        thread.start()
        known = (afar.away / "h1").read_text()
        (afar.away / "h1").write_text(known.replace(str(afar.port), str(listener.getsockname()[1]), 1))
        said = afar.gear("list", "h1")
        thread.join(10)
    assert said.code == 4
    assert "does not hold by this machine's clock: certificate is not yet valid" in said.err
    assert "is that right? gear doctor" in said.err


def test_a_machine_at_an_address_that_its_certificate_is_not_for(afar: Afar) -> None:
    said = afar.gear("host", "add", "h1", f"127.0.0.2:{afar.port}", stdin=afar.invite() + "\n")
    assert said.code in (1, 4)
    assert not (afar.away / "h1").exists()


def test_a_stranger_is_told_nothing(afar: Afar) -> None:
    """A machine that answers and is not known: no request goes there, with its variables and secrets."""
    heard = list[bytes]()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                heard.append(connection.recv(1000))

        thread = threading.Thread(target=listen)
        thread.start()
        name = socket.gethostname()
        with mock.patch("socket.getaddrinfo", return_value=[(2, 1, 6, "", listener.getsockname())]):
            said = afar.gear("set-env", f"{name}/web", "PASSWORD=x")
        thread.join(10)
    assert said.code == 4, said
    assert "is not known here; nothing was sent to it" in said.err
    assert heard == [b""]


def test_a_certificate_is_renewed_and_the_old_one_holds_until_its_end(afar: Afar, tmp_path: Path) -> None:
    assert afar.join().code == 0
    before = tmp_path / "before.pem"
    before.write_bytes((afar.away / "h1").read_bytes())
    assert afar.gear("host", "renew", "h1").code == 0
    assert (afar.away / "h1").read_bytes() != before.read_bytes()
    assert afar.gear("list", "h1").code == 0
    assert afar.ask("GET", "/containers", certificate=before).status == 200
    afar.root("host", "revoke", "laptop")
    assert afar.ask("GET", "/containers", certificate=before).status == 401


def test_a_certificate_near_its_end_is_renewed_by_itself(afar: Afar) -> None:
    assert afar.join().code == 0
    path = afar.away / "h1"
    path.write_text(re.sub(r'"Renew":"[^"]*"', '"Renew":"2020-01-01T00:00:00+00:00"', path.read_text()))
    before = path.read_text()
    assert afar.gear("list", "h1").code == 0
    assert path.read_text() != before
    assert '"Renew":"2020' not in path.read_text()


def test_who_is_removed_gives_its_certificate_up(afar: Afar) -> None:
    assert afar.join().code == 0
    assert afar.gear("host", "remove", "h1").out == "Forgot h1\n"
    assert afar.root("host", "guests", "-o", "name") == ""
    assert afar.gear("host", "remove", "h1").out == "h1 was not known\n"


# --- scopes ---


def test_a_bounded_token_sees_and_does_only_what_it_reaches(afar: Afar) -> None:
    for name in ("web-1", "db-1"):
        afar.root("install", IMAGE, name)
    afar.root("secret", "create", "db-key", stdin="x")
    token = afar.token("web", "--scope", "operate", "--only", "web-*")

    def status(method: str, target: str, body: object = None) -> int:
        return afar.ask(method, target, body, token=token).status

    assert [row["Id"] for row in afar.ask("GET", "/containers?all=1", token=token).json["Containers"]] == ["web-1"]
    assert status("GET", "/container/web-1/status") == 200
    assert status("GET", "/container/db-1/status") == 403
    assert status("DELETE", "/container/db-1") == 403
    assert status("DELETE", "/containers") == 403
    assert status("GET", "/environment/db-1") == 403
    assert status("PUT", "/container/web-2", {"Image": IMAGE, "Environment": {"Id": "db-1"}}) == 403
    assert status("PUT", "/container/web-2", {"Image": IMAGE, "Secrets": [{"Name": "db-key"}]}) == 403
    assert status("PUT", "/container/web-2", {"Image": IMAGE}) == 200
    assert status("GET", "/settings") == 403
    assert status("GET", "/version") == 200


def test_who_is_bounded_follows_their_own_requests_and_sees_no_others(afar: Afar) -> None:
    bounded = afar.token("web", "--scope", "admin", "--only", "web-*")
    free = afar.token("free", "--scope", "operate")
    assert afar.ask("PUT", "/container/db-2?follow=1", {"Image": IMAGE}, token=free).status == 200
    others = afar.ask("GET", "/requests", token=free).json["Requests"][-1]["Id"]
    assert afar.ask("PUT", "/container/web-2?follow=1", {"Image": IMAGE}, token=bounded).status == 200
    (own,) = afar.ask("GET", "/requests?all=1", token=bounded).json["Requests"]
    assert (own["What"], own["By"]) == ("PUT /container/web-2", "token web")
    assert afar.ask("GET", f"/request/{own['Id']}", token=bounded).status == 200
    assert "web-2 is installed" in afar.ask("GET", f"/request/{own['Id']}/report", token=bounded).text
    for path in (f"/request/{others}", f"/request/{others}/report"):
        assert afar.ask("GET", path, token=bounded).status == 404


def test_a_bounded_admin_lets_nobody_in(afar: Afar) -> None:
    token = afar.token("web", "--scope", "admin", "--only", "web-*")
    body = {"Digest": "0" * 64, "Scope": "admin"}
    assert afar.ask("PUT", "/tokens/web-more", body, token=token).status == 403
    assert afar.ask("PUT", "/hosts/web-more/invitation", body, token=token).status == 403
    assert afar.ask("GET", "/tokens", token=token).status == 403


OPERATES = {"Image": IMAGE}
ADMINS = [
    {**OPERATES, "Simple": True},
    {**OPERATES, "VolumeConfig": {"VolumeMounts": [{"Path": "/", "HostPath": "/host"}]}},
    {**OPERATES, "Environment": {"Source": "http://config.example/env"}},
]


@pytest.mark.parametrize("body", ADMINS, ids=["simple", "mount", "url"])
@pytest.mark.parametrize("how", ["install", "update", "preview"])
def test_what_takes_admin_is_refused_to_operate(afar: Afar, body: dict[str, object], how: str) -> None:
    afar.root("install", IMAGE, "web")
    token = afar.token("ops", "--scope", "operate")
    method, target = {"install": ("PUT", ""), "update": ("PATCH", ""), "preview": ("POST", "/preview")}[how]
    if how == "update":
        body = {key: value for key, value in body.items() if key != "Image"}
        if "Simple" in body:
            return  # a key that an update has not
    reply = afar.ask(method, f"/container/web{target}", body, token=token)
    assert (reply.status, reply.json["Kind"]) == (403, "Denied")
    assert "admin" in reply.json["Message"]


def test_urls_that_an_admin_permits(afar: Afar) -> None:
    token = afar.token("ops", "--scope", "operate")
    for target in ("/environment/web", "/environment/web"):
        assert afar.ask("PATCH", target, {"Source": "http://config.example/x"}, token=token).status == 403
    settings = afar.host.paths.settings / "geard.toml"
    settings.write_text(settings.read_text() + '[fetch]\nurls = ["http://127.0.0.1:1/env"]\n')
    reply = afar.ask("PATCH", "/environment/web", {"Source": "http://127.0.0.1:1/env/a"}, token=token)
    assert reply.status == 400  # not refused for who asks: it cannot be fetched


# --- how often one may be wrong ---


def test_who_is_wrong_too_often_is_told_to_wait_and_others_are_not(afar: Afar) -> None:
    assert afar.join().code == 0
    good = afar.token()
    for _ in range(admission.REFUSALS):
        assert afar.ask("GET", "/containers", token="geard-token.ci." + "A" * 43).status == 401
    reply = afar.ask("GET", "/containers", token=good)
    assert reply.status == 429
    assert 1 <= int(reply.headers["Retry-After"]) <= 10
    # who shows a certificate has not guessed, and is not held up by another behind the same address
    assert afar.gear("list", "h1").code == 0


def test_refusals_are_remembered_for_so_many_sources() -> None:
    now = [0.0]
    refusals = admission.Refusals(lambda: now[0])
    for number in range(3 * admission.SOURCES):
        refusals.add(f"10.0.{number // 256}.{number % 256}")
    assert len(refusals) == admission.SOURCES
    for _ in range(admission.REFUSALS):
        refusals.check("a")
        refusals.add("a")
    with pytest.raises(admission.TooManyRefusals):
        refusals.check("a")
    refusals.check("b")
    refusals.check("")
    now[0] += admission.SECONDS_EACH
    refusals.check("a")


def test_the_journal_is_told_who_changed_what_and_who_was_refused(
    afar: Afar, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert afar.join().code == 0
    token = afar.token("ci", "--scope", "operate")
    afar.ask("PUT", "/container/web", {"Image": IMAGE}, token=token)
    afar.ask("GET", "/containers", token="geard-token.ci." + "A" * 43)
    assert afar.gear("install", IMAGE, "h1/web").code == 0
    until(lambda: "certificate laptop, TLS from 127.0.0.1: PUT /container/web" in caplog.text)
    assert "invitation laptop, TLS from 127.0.0.1: POST /hosts/laptop/certificate" in caplog.text
    assert "token ci, TLS from 127.0.0.1: PUT /container/web" in caplog.text
    assert re.search(
        r"refused, TLS from 127.0.0.1: GET /containers \[\S+\]: token ci is not known here", caplog.text
    )
    assert token.split(".")[2] not in caplog.text


def test_a_flood_of_refusals_fills_no_journal(caplog: pytest.LogCaptureFixture) -> None:
    from geard.daemon.audit import LINES, Audit

    now = [0.0]
    audit = Audit(lambda: now[0])
    for _ in range(10 * LINES):
        audit.refused("TLS from 10.0.0.1", "GET /", "no token")
    assert len(caplog.records) == LINES
    now[0] += 3_600
    audit.refused("TLS from 10.0.0.1", "GET /", "no token")
    assert f"{9 * LINES} more refusals were not told" in caplog.text


def test_killed_while_it_was_written_a_grant_lets_nobody_in(afar: Afar) -> None:
    token = afar.token()
    path = grants.place(afar.host.paths, "token", "ci")
    path.write_bytes(path.read_bytes()[:40])
    assert afar.ask("GET", "/containers", token=token).status == 401
    with Changes() as changes:
        assert grants.revoke(afar.host.paths, changes, "token", "ci")


async def test_an_operation_asks_another_machines_agent(afar: Afar) -> None:
    from geard.containers.requests import ListContainers
    from geard.dispatch.peers import ask_peer

    assert afar.join().code == 0
    afar.root("install", IMAGE, "web")
    with mock.patch.object(known_hosts, "folder", return_value=afar.away):
        answer = await ask_peer("h1", ListContainers(all=True))
    assert [row.id for row in answer.containers] == ["web"]


def test_the_agent_renews_what_root_may_ask_others_by(afar: Afar) -> None:
    assert afar.join().code == 0
    path = afar.away / "h1"
    path.write_text(re.sub(r'"Renew":"[^"]*"', '"Renew":"2020-01-01T00:00:00+00:00"', path.read_text()))
    (afar.away / "damaged").write_text("x")
    with mock.patch.object(known_hosts, "folder", return_value=afar.away):
        renewing.renew_all()
    assert '"Renew":"2020' not in path.read_text()


def test_it_listens_as_the_settings_say_and_no_longer(afar: Afar, caplog: pytest.LogCaptureFixture) -> None:
    settings, port = afar.host.paths.settings / "geard.toml", free_port()
    settings.write_text(f'[agent]\nlisten = ["127.0.0.1:{port}"]\n')
    until(lambda: answers(port))
    mistake = settings.with_name("mistake")
    mistake.write_text('[agent]\nlisten = ["nowhere"]\n')
    mistake.rename(settings)  # a file that is cut short first is an empty one for a moment
    until(lambda: "is no address to listen on" in caplog.text)
    assert answers(port)  # a mistake shuts no door that is open
    settings.write_text("")
    until(lambda: not answers(port))


def test_a_user_of_the_machine_comes_in_by_a_token_on_loopback_and_by_the_socket(afar: Afar) -> None:
    token, other = afar.token(), afar.token("web", "--only", "web-*")
    afar.root("install", IMAGE, "db")
    for connection in (UnixConnection(afar.socket), http.client.HTTPConnection("127.0.0.1", afar.loopback)):
        try:
            assert afar.ask("GET", "/containers?all=1", token=token, on=connection).json["Containers"]
            assert not afar.ask("GET", "/containers?all=1", token=other, on=connection).json["Containers"]
            assert afar.ask("DELETE", "/container/db", token=token, on=connection).status == 403
        finally:
            connection.close()


def test_a_bounded_token_sets_no_variables_of_another_environment(afar: Afar) -> None:
    """The gear reads it, since an admin said so; it is not the asker's for that."""
    afar.root("set-env", "shared", "A=b")
    afar.root("install", IMAGE, "web-1", "--env-id", "shared")
    token = afar.token("web", "--scope", "operate", "--only", "web-*")
    body = {"Environment": {"Variables": [{"Name": "A", "Value": "evil"}]}}
    assert afar.ask("PATCH", "/container/web-1", body, token=token).status == 403
    assert afar.root("env", "shared") == "A=b\n"
    assert afar.ask("PATCH", "/container/web-1", {"Labels": {"a": "b"}}, token=token).status == 200
