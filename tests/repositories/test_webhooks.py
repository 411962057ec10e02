"""Who is told of pushes, and what: once for each, by the outbox of callbacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fakes.host import FakeHost

from geard.accounts.repositories import FIRST
from geard.callbacks import outbox
from geard.callbacks.outbox import Outbox
from geard.failures import Denied, Invalid, NotFound
from geard.identifiers import parse_request_id
from geard.repositories import folders, webhooks
from geard.repositories.pushes import Change, Push
from geard.repositories.webhooks import BODY_LIMIT, render_body

URL = "https://ci.example.com/pushed?key=secret"
ZERO, ONE, TWO = "0" * 40, "1" * 40, "2" * 40


@pytest.fixture
def shop(fake_host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A host with the repository shop, as if its files were its user's."""
    for folder in ("git/shop", "git/.pushes", "git-users"):
        (fake_host.paths.base / folder).mkdir(parents=True, exist_ok=True)

    def number(paths: object, id: str) -> int:
        if id != "shop":
            raise NotFound(f"there is no repository {id} here")
        return FIRST

    def of_uid(paths: object, uid: int) -> str:
        return "shop"

    monkeypatch.setattr(folders, "number", number)
    monkeypatch.setattr(folders, "of_uid", of_uid)
    return fake_host


def push(host: FakeHost, name: str = "1000-7-1", by: str = "token ci") -> Path:
    word = host.paths.base / "git/.pushes" / name
    word.write_text(f"by {by}\n{ONE} {TWO} refs/heads/main\n{ZERO} {ONE} refs/heads/é\n{ONE} {ZERO} refs/tags/t\n")
    return word


def test_a_push_is_told(shop: FakeHost) -> None:
    webhooks.set_(shop, "shop", URL)
    assert webhooks.of(shop.paths, "shop") == URL
    (kept,) = (shop.paths.base / "git-users").glob("*.webhook")
    assert kept.stat().st_mode & 0o777 == 0o600
    word = push(shop)
    webhooks.tell(shop)
    assert not word.exists()
    (entry,) = Outbox(shop.paths).entries()
    assert (entry.url, entry.what, entry.asker, entry.state) == (URL, "push to shop", "token ci", "waiting")
    assert parse_request_id(entry.id) == entry.id
    told = json.loads(entry.body)
    assert {key: told[key] for key in ("Event", "Repository", "By", "Omitted")} == {
        "Event": "pushed", "Repository": "shop", "By": "token ci", "Omitted": 0,
    }  # fmt: skip
    assert told["Changes"] == [
        {"Ref": "refs/heads/main", "Old": ONE, "New": TWO},
        {"Ref": "refs/heads/é", "Old": "", "New": ONE},
        {"Ref": "refs/tags/t", "Old": ONE, "New": ""},
    ]
    webhooks.remove(shop.paths, "shop")
    assert not webhooks.remove(shop.paths, "shop")
    push(shop)
    webhooks.tell(shop)
    assert len(Outbox(shop.paths).entries()) == 1


def test_who_was_killed_between_tells_it_once_more_by_the_same_id(
    shop: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhooks.set_(shop, "shop", URL)
    word = push(shop)

    class KilledError(BaseException):
        pass

    def promise(box: Outbox, entry: outbox.Entry) -> None:
        real(box, entry)
        raise KilledError

    real = Outbox.promise
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "promise", promise)
        with pytest.raises(KilledError):
            webhooks.tell(shop)
    assert word.exists()
    before = Outbox(shop.paths).entries()
    webhooks.tell(shop)
    assert Outbox(shop.paths).entries() == before and not word.exists()
    push(shop, "1000-7-2")
    webhooks.tell(shop)
    assert len(Outbox(shop.paths).entries()) == 2


def test_where_nobody_is_told(shop: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    for url, failure in (
        ("http://127.0.0.1:43273/x", Denied),
        ("http://169.254.169.254/", Denied),
        ("http://[::1]/", Denied),
        ("ftp://example.com/", Invalid),
        ("-x", Invalid),
        ("https://me:secret@example.com/", Invalid),
        ("https://example.com/a\nb", Invalid),
    ):
        with pytest.raises(failure):
            webhooks.set_(shop, "shop", url)
    for deed in (lambda: webhooks.set_(shop, "nosuch", URL), lambda: webhooks.of(shop.paths, "nosuch")):
        with pytest.raises(NotFound):
            deed()
    assert webhooks.of(shop.paths, "shop") == ""
    webhooks.set_(shop, "shop", URL)
    monkeypatch.setattr(outbox, "LIMIT", 0)
    word = push(shop)
    webhooks.tell(shop)
    assert Outbox(shop.paths).entries() == [] and not word.exists()


def test_a_push_of_many_is_told_in_part() -> None:
    changes = tuple(Change(f"refs/heads/{number}", "", ONE) for number in range(5_000))
    body = render_body(Push("shop", "", changes), "h1")
    told = json.loads(body)
    assert len(body) <= BODY_LIMIT and told["Changes"][0]["Ref"] == "refs/heads/0"
    assert len(told["Changes"]) + told["Omitted"] == 5_000 and told["Omitted"]
