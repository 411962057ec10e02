"""`gear --callback URL …` and `Callback: URL`: who is told what, when, and how often."""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
from tests.fakes.host import FakeHost, make_host
from tests.fakes.site import Site, real_program, site
from tests.fakes.terminal import Terminal, agent, terminal

from geard.callbacks import delivering, outbox, outcome, signing, tries
from geard.callbacks.outbox import Entry, Outbox
from geard.callbacks.requests import CallbackKey
from geard.dispatch.records import Records
from geard.environments.requests import DeleteEnvironment
from geard.host.fetch import Reply
from geard.request import ROOT_HERE, Progress

ID = "AAAAAAAAAAAAAAAAAAAAAA"
LOOPBACK = '[callbacks]\nallow = ["127.0.0.0/8"]\n'


@pytest.fixture(autouse=True)
def quick() -> Generator[None]:
    """Pauses of a moment, and the program of this tree."""
    with (
        real_program(),
        mock.patch.object(tries, "FIRST_PAUSE", 0.02),
        mock.patch.object(delivering, "LOOK_SECONDS", 0.1),
        mock.patch.object(delivering, "ORPHAN_SECONDS", 0.3),
    ):
        yield


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    tmp_path.chmod(0o755)
    found = make_host(tmp_path / "host")
    (found.paths.settings / "geard.toml").write_text(LOOPBACK)
    return found


@pytest.fixture
def receiver() -> Generator[Site]:
    with site() as found:
        yield found


@contextmanager
def at_terminal(host: FakeHost) -> Generator[Terminal]:
    """`gear` on this machine, through its agent."""
    with terminal(host.folder, "http", host) as gear:
        yield gear


def eventually(question: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end, "not so within the time"
        time.sleep(0.01)


def told(receiver: Site, times: int = 1) -> list[dict[str, Any]]:
    """The bodies that came, once there are so many."""
    eventually(lambda: len(receiver.asked) >= times)
    return [json.loads(body) for _, _, _, body in receiver.asked]


def left(host: FakeHost) -> list[Entry]:
    return Outbox(host.paths).entries()


def ask(folder: Path, method: str, path: str, body: object = None, **headers: str) -> tuple[int, str]:
    """As curl asks the agent on its unix socket."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(folder / "geard.sock"))
    try:
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


# --- what is told


def test_the_outcome_is_told_signed_and_then_forgotten(host: FakeHost, receiver: Site) -> None:
    with at_terminal(host) as gear:
        words = ("--request-id", ID, "--callback", f"{receiver.url}/hook?x=1", "install", "geard/sample", "web")
        assert "installed" in gear.ok(*words, "--start")
        [body] = told(receiver)
        eventually(lambda: left(host) == [])
        key = gear.ok("callback", "key").strip()
    assert (body["RequestId"], body["Host"], body["Request"]) == (ID, socket.gethostname(), "PUT /container/web")
    assert (body["Outcome"], body["Message"]) == ("done", "web is running")
    assert body["Answer"]["Id"] == "web" and body["Accepted"] <= body["Ended"]
    [(method, path, headers, raw)] = receiver.asked
    assert (method, path, headers["Content-Type"]) == ("POST", "/hook?x=1", "application/json")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + raw
    expected = hmac.digest(base64.b64decode(key.removeprefix("whsec_")), signed, "sha256")
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert (
        headers["webhook-id"] == signing.delivery_id(key, ID)
        and abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    )
    assert (host.paths.base / "callbacks/key").stat().st_mode & 0o777 == 0o600


def test_a_failure_is_told_as_one(host: FakeHost, receiver: Site) -> None:
    with at_terminal(host) as gear:
        assert gear("--callback", receiver.url, "start", "nothing").code == 5
        [body] = told(receiver)
    assert (body["Outcome"], body["Failure"]["Kind"]) == ("failed", "NotFound")
    assert body["Message"] == body["Failure"]["Message"] == "there is no gear nothing here"


@pytest.mark.parametrize("form", ["header", "query"])
def test_plain_http_names_a_callback(host: FakeHost, receiver: Site, form: str) -> None:
    with agent(host, host.folder):
        named = {"Callback": receiver.url} if form == "header" else {}
        query = f"?callback={receiver.url}" if form == "query" else ""
        variables = [{"Name": "A", "Value": "secret-value"}]
        status, _ = ask(host.folder, "PUT", f"/environment/web{query}", {"Variables": variables}, **named)
        assert status == 200
        [body] = told(receiver)
    assert (body["Request"], body["Outcome"]) == ("PUT /environment/web", "done")
    assert "secret-value" not in json.dumps(body)


def test_an_answer_for_the_askers_eyes_alone_is_left_out() -> None:
    secret = CallbackKey(key="whsec_x")
    body = outcome.done(entry(secret_answer=True), "2026", secret, [Progress(message="made", result=True)])
    assert "whsec_x" not in body and json.loads(body)["Message"] == "made"
    assert "whsec_x" not in outcome.done(entry(secret_answer=True), "2026", secret, [])
    assert "whsec_x" in outcome.done(entry(), "2026", secret, [])


def test_an_answer_that_is_too_long_is_left_out() -> None:
    body = outcome.done(entry(), "2026", CallbackKey(key="x" * outcome.BODY_LIMIT), [])
    assert len(body) < 2_000 and "Answer" not in json.loads(body)


# --- what may be named


@pytest.mark.parametrize(
    ("url", "why"),
    [("ftp://example.com", "begins with http"), ("https://a:b@example.com", "a password"), ("", "names no URL")],
)
def test_what_is_no_url_is_refused_before_anything_is_done(host: FakeHost, url: str, why: str) -> None:
    with agent(host, host.folder):
        status, text = ask(host.folder, "PUT", "/environment/web", {}, Callback=url)
        assert status == 400 and why in text
        assert ask(host.folder, "GET", "/environment/web")[0] == 404
    assert left(host) == []


def test_what_only_looks_has_no_end_to_be_told_of(host: FakeHost) -> None:
    with at_terminal(host) as gear:
        status, text = ask(host.folder, "GET", "/containers", Callback="https://example.com")
        assert status == 400 and "no end to be told of" in text
        status, text = ask(host.folder, "PUT", "/environment/web?callback=https://b", {}, Callback="https://a")
        assert status == 400 and "two callbacks" in text
        said = gear("--callback", "https://example.com", "list")
        assert said.code == 64 and "nobody is told" in said.err


def test_on_this_machine_it_goes_through_the_agent(host: FakeHost) -> None:
    with terminal(host.folder, "local", host) as gear:
        with mock.patch("geard.cli.asking.SOCKET", str(host.folder / "none.sock")):
            said = gear("--callback", "https://example.com", "install", "geard/sample", "web")
        assert said.code == 1 and "no agent answers" in said.err
        assert gear.ok("list", "-a", "-q") == ""


@pytest.mark.parametrize(
    "name", ["127.0.0.1", "localhost", "a.localhost.", "[::1]", "10.1.2.3", "169.254.169.254"]
)
def test_a_private_address_is_refused_at_once(host: FakeHost, name: str) -> None:
    (host.paths.settings / "geard.toml").write_text("")
    with agent(host, host.folder):
        status, text = ask(host.folder, "PUT", "/environment/web", {}, Callback=f"http://{name}:8080/")
        assert status == 403 and "is not a public address" in text and "[callbacks] allow" in text
        assert ask(host.folder, "GET", "/environment/web")[0] == 404


def test_what_settings_allow_is_what_they_allow_when_it_is_told(host: FakeHost, receiver: Site) -> None:
    receiver.answers["/"] = (500, {}, b"")
    with at_terminal(host) as gear:
        gear.ok("--callback", f"{receiver.url}/", "--request-id", ID, "install", "geard/sample", "web")
        told(receiver)
        (host.paths.settings / "geard.toml").write_text("")
        eventually(
            lambda: "127.0.0.1 is not a public address; [callbacks] allow" in gear.ok("callback", "show", ID)
        )
        receiver.answers.clear()
        (host.paths.settings / "geard.toml").write_text(LOOPBACK)
        eventually(lambda: left(host) == [])


def test_a_full_outbox_takes_no_more(host: FakeHost) -> None:
    for number in range(2):
        id = f"{number}AAAAAAAAAAAAAAAAAAAAA"
        Outbox(host.paths).promise(entry(id=id, body="{}", next_try=time.time() + 3_000))
    with mock.patch.object(outbox, "LIMIT", 2), agent(host, host.folder):

        def refusal() -> str:
            return ask(host.folder, "PUT", "/environment/web", {}, Callback="https://a.example")[1]

        eventually(lambda: "2 callbacks wait to be delivered" in refusal())
        assert ask(host.folder, "GET", "/environment/web")[0] == 404


# --- once for each request


def test_the_same_request_again_is_told_by_the_same_id(host: FakeHost, receiver: Site) -> None:
    with at_terminal(host) as gear:
        words = ("--request-id", ID, "--callback", receiver.url, "install", "geard/sample", "web")
        gear.ok(*words)
        eventually(lambda: left(host) == [])
        gear.ok(*words)
        told(receiver, 2)
        eventually(lambda: left(host) == [])
    assert len({headers["webhook-id"] for _, _, headers, _ in receiver.asked}) == 1


def test_a_secret_that_was_given_once_makes_no_failure(host: FakeHost, receiver: Site) -> None:
    with agent(host, host.folder):
        asked = {"Path": "/environment/web"}
        named = {"X-Request-Id": ID, "Callback": receiver.url}
        assert ask(host.folder, "POST", "/content-tokens", asked, **named)[0] == 200
        eventually(lambda: left(host) == [])
        assert ask(host.folder, "POST", "/content-tokens", asked, **named)[0] == 409
        bodies = told(receiver, 2)
    assert [body["Outcome"] for body in bodies] == ["done", "done"]
    assert "/token/" not in json.dumps(bodies)


def test_two_machines_asked_by_one_request_id_are_told_apart() -> None:
    one, other = (signing.delivery_id(f"whsec_{letter * 32}", ID) for letter in "AB")
    assert one != other and one.startswith("cb_")


def test_another_callback_for_the_same_request_is_a_conflict(host: FakeHost, receiver: Site) -> None:
    receiver.answers["/a"] = (500, {}, b"")
    with at_terminal(host) as gear:
        words = ("install", "geard/sample", "web")
        gear.ok("--request-id", ID, "--callback", f"{receiver.url}/a", *words)
        said = gear("--request-id", ID, "--callback", f"{receiver.url}/b", *words)
        assert said.code == 1 and "another callback" in said.err
        gear.ok("callback", "remove", ID)
    assert {path for _, path, _, _ in receiver.asked} <= {"/a"}


def test_somebody_elses_request_id_tells_nothing(host: FakeHost, receiver: Site) -> None:
    with at_terminal(host) as gear:
        gear.ok("--request-id", ID, "install", "geard/sample", "web")
        said = gear("--request-id", ID, "--callback", receiver.url, "stop", "web")
        assert said.code == 1 and "used for something else" in said.err
    assert left(host) == [] and receiver.asked == []


# --- again and again


def test_a_receiver_that_fails_is_asked_again(host: FakeHost, receiver: Site) -> None:
    receiver.answers["/"] = (503, {"Retry-After": "0"}, b"secret page")
    with at_terminal(host) as gear:
        gear.ok("--callback", f"{receiver.url}/", "--request-id", ID, "install", "geard/sample", "web")
        first = told(receiver, 3)[0]
        shown = gear.ok("callback", "list")
        assert "waiting" in shown and "it answered 503" in shown and "secret page" not in shown
        receiver.answers.clear()
        eventually(lambda: left(host) == [])
    assert all(body == first for body in told(receiver)), "a body changes with no try"


def test_a_receiver_that_is_gone_is_asked_no_more(host: FakeHost, receiver: Site) -> None:
    receiver.answers["/"] = (410, {}, b"")
    with at_terminal(host) as gear:
        gear.ok("--callback", f"{receiver.url}/", "--request-id", ID, "install", "geard/sample", "web")
        eventually(lambda: [entry.state for entry in left(host)] == ["dead"])
        assert len(receiver.asked) == 1
        receiver.answers.clear()
        gear.ok("callback", "retry", ID)
        eventually(lambda: left(host) == [])
    assert len(receiver.asked) == 2


def test_a_redirect_is_not_followed(host: FakeHost, receiver: Site) -> None:
    receiver.answers["/"] = (307, {"Location": "/elsewhere"}, b"")
    with at_terminal(host) as gear:
        gear.ok("--callback", f"{receiver.url}/", "--request-id", ID, "install", "geard/sample", "web")
        eventually(lambda: bool(left(host)[0].problem))
        assert "redirects are not followed" in gear.ok("callback", "show", ID)
        gear.ok("callback", "remove", ID)
        assert "was not there" in gear.ok("callback", "remove", ID)
    assert {path for _, path, _, _ in receiver.asked} == {"/"}


def test_one_receiver_that_hangs_holds_up_no_other(host: FakeHost, receiver: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, at_terminal(host) as gear:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        for number in range(4):
            gear.ok("--callback", url, "set-env", f"env{number}", "A=1")
        gear.ok("--callback", receiver.url, "install", "geard/sample", "web")
        told(receiver)
        silent.close()


# --- another agent


def test_what_one_agent_promised_the_next_delivers(host: FakeHost) -> None:
    with site() as receiver:
        port = receiver.port
    with agent(host, host.folder):  # nobody answers there now
        url = f"http://127.0.0.1:{port}/"
        assert ask(host.folder, "PUT", "/environment/web", {}, **{"X-Request-Id": ID, "Callback": url})[0] == 200
        eventually(lambda: left(host)[0].tries > 0)
    assert [entry.state for entry in left(host)] == ["waiting"]
    with site(port=port) as receiver, agent(host, host.folder):
        [body] = told(receiver)
        eventually(lambda: left(host) == [])
    assert (body["RequestId"], body["Outcome"]) == (ID, "done")


def test_a_disk_that_is_full_has_nobody_told_again_and_again(host: FakeHost, receiver: Site) -> None:
    full = OSError(28, "No space left on device")
    with mock.patch.object(Outbox, "remove", side_effect=full), at_terminal(host) as gear:
        gear.ok("--callback", receiver.url, "--request-id", ID, "install", "geard/sample", "web")
        told(receiver)
        time.sleep(0.5)  # five looks at the outbox
        assert len(receiver.asked) == 1
        gear.ok("callback", "list")


def test_an_outcome_that_the_disk_did_not_take_is_written_later(host: FakeHost, receiver: Site) -> None:
    change, refused = Outbox.change, [OSError(28, "No space left on device")] * 2

    def full(outbox: Outbox, id: str, how: Callable[[Entry], Entry]) -> Entry:
        if refused:
            raise refused.pop()
        return change(outbox, id, how)

    with mock.patch.object(Outbox, "change", full), at_terminal(host) as gear:
        gear.ok("--callback", receiver.url, "install", "geard/sample", "web")
        told(receiver)


def test_of_what_a_killed_agent_left_undone_it_is_said_that_nobody_knows(host: FakeHost, receiver: Site) -> None:
    Outbox(host.paths).promise(entry(url=receiver.url))
    with agent(host, host.folder):
        [body] = told(receiver)
        eventually(lambda: left(host) == [])
    assert (body["RequestId"], body["Outcome"]) == (ID, "unknown")


def test_of_what_a_killed_agent_left_for_good_the_failure_is_told(host: FakeHost, receiver: Site) -> None:
    records = Records(host.paths)
    heading = records.heading(DeleteEnvironment(id="web"), ROOT_HERE, ID)
    hold = records.claim(msgspec.structs.replace(heading, repeatable=False)).hold
    assert hold is not None
    hold.close()
    Outbox(host.paths).promise(entry(url=receiver.url))
    with agent(host, host.folder):
        [body] = told(receiver)
    assert body["Outcome"] == "failed" and "was cut short" in body["Message"]


def test_without_an_agent_callbacks_are_looked_at_and_put_right(host: FakeHost) -> None:
    Outbox(host.paths).promise(entry(body="{}", dead=True, tries=9, problem="it answered 500"))
    with terminal(host.folder, "local", host) as gear:
        assert json.loads(gear.ok("callback", "list", "-o", "json"))[0]["State"] == "dead"
        assert gear.ok("callback", "list", "-o", "name") == f"{ID}\n"
        gear.ok("callback", "retry", ID)
        assert [(e.state, e.tries) for e in left(host)] == [("waiting", 0)]
        gear.ok("callback", "remove", ID)
        assert gear("callback", "show", ID).code == 5
        assert gear("callback", "show", "../../../etc/shadow").code == 64
    assert left(host) == []


def test_a_damaged_file_is_passed_over(host: FakeHost) -> None:
    Outbox(host.paths).promise(entry())
    (host.paths.base / "callbacks/outbox/BAAAAAAAAAAAAAAAAAAAAA").write_text("{")
    assert [found.id for found in left(host)] == [ID]


# --- when


def entry(**words: Any) -> Entry:
    told: dict[str, Any] = {
        "id": ID,
        "url": "http://127.0.0.1:1/",
        "what": "PUT /x",
        "asker": "root",
        "accepted": "2026",
        **words,
    }
    return Entry(**told)


def test_tries_go_on_for_about_a_day() -> None:
    with mock.patch.object(tries, "FIRST_PAUSE", 5.0):
        sums = [sum(tries.pause(number) for number in range(1, tries.TRIES)) for _ in range(50)]
        assert min(sums) > 18 * 3600 and max(sums) < 30 * 3600
        assert {tries.pause(1) <= 5 for _ in range(50)} == {True}
        assert len({tries.pause(3) for _ in range(50)}) > 1, "all at the same moment"


def test_after_the_last_try_it_is_dead() -> None:
    last = tries.after(entry(body="{}", tries=tries.TRIES - 1), "no", 0)
    assert (last.state, last.problem) == ("dead", "no")
    assert tries.after(entry(body="{}", tries=tries.TRIES - 2), "no", 0).state == "waiting"


@pytest.mark.parametrize(("asked", "least"), [("120", 120), ("999999", 3600), ("soon", 0), ("-5", 0), ("٣", 0)])
def test_a_receiver_may_ask_for_time(asked: str, least: float) -> None:
    found = tries.after(entry(body="{}"), "no", 1000, Reply(429, "", asked))
    assert 1000 + least <= found.next_try <= 1000 + max(least, 5)


def test_a_clock_put_back_makes_nobody_wait_for_days() -> None:
    waiting = entry(body="{}", next_try=1_000_000)
    assert not tries.due(waiting, 999_000)
    assert tries.due(waiting, 1_000_000)
    assert tries.due(waiting, 500_000)


def test_only_so_many_dead_are_kept_the_newest() -> None:
    entries = [entry(id=str(n), dead=True, body="{}") for n in range(outbox.DEAD_LIMIT + 2)]
    assert [found.id for found in outbox.surplus([entry(id="w", body="{}"), *entries])] == ["0", "1"]


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example that its libraries are tested with."""
    key, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    found = signing.headers(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
