"""`gear keys`, `list-keys`, `remove-keys`, without an agent and through one; the bodies that an agent takes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.terminal import Terminal, agent, terminal
from tests.keys.test_public import ED25519, LINES, README

from geard.failures import Failure, NotFound
from geard.host.storage import Changes
from geard.keys import store
from geard.keys.public import parse_key, parse_keys
from geard.keys.requests import AddKeys, KeyedContainer, KeyedRepository, KeyText, Permission
from geard.transport.http import HttpTransport

KEY = parse_key(ED25519)
OTHER = parse_key(README)


@pytest.fixture
def web(gear: Terminal) -> Terminal:
    gear.ok("install", "geard/sample", "web")
    gear.ok("install", "geard/sample", "db")
    return gear


def base(gear: Terminal) -> Path:
    return gear.host.paths.base


def kept(gear: Terminal) -> dict[str, str]:
    """All that is below keys/ and access/: text of files, targets of links."""
    found: dict[str, str] = {}
    for top in ("keys", "access"):
        for path in sorted((base(gear) / top).rglob("*")):
            if path.is_symlink():
                found[str(path.relative_to(base(gear)))] = f"-> {path.resolve().relative_to(base(gear))}"
            elif path.is_file():
                found[str(path.relative_to(base(gear)))] = path.read_text()
    return found


def at(key: str, *gears: str) -> dict[str, str]:
    """What is kept of one key that opens these."""
    id = parse_key(key).id
    file = f"keys/{id[:2]}/{id}"
    return {file: " ".join(key.split()[:2])} | {
        f"access/containers/{gear[:2]}/{gear}/{id}": f"-> {file}" for gear in gears
    }


def listed(gear: Terminal, *names: str) -> set[tuple[str, str]]:
    found: list[dict[str, Any]] = json.loads(gear.ok("list-keys", "-o", "json", *names))
    return {(key["Id"], key["Fingerprint"]) for key in found}


def test_a_key_is_kept_once_and_linked_for_each_gear(web: Terminal) -> None:
    assert web.ok("keys", "web", "db", stdin=f"{ED25519}\n") == "1 key opens web, db\n"
    assert kept(web) == at(ED25519, "web", "db")
    assert web.ok("add-keys", "web", stdin=f"{README}\n{ED25519}") == "2 keys open web\n"
    assert kept(web) == at(ED25519, "web", "db") | at(README, "web")
    assert listed(web) == {("web", KEY.fingerprint), ("db", KEY.fingerprint), ("web", OTHER.fingerprint)}
    assert listed(web, "db") == {("db", KEY.fingerprint)}
    table = web.ok("list-keys", "db").split()
    assert table == ["ID", "SERVER", "MAY", "TYPE", "KEY", "db", "login", "ssh-ed25519", KEY.fingerprint]
    status = json.loads(web.ok("status", "-o", "json", "web"))[0]
    assert {"Label": "Keys", "Text": "2; gear list-keys web shows them"} in status["Facts"]


def test_asking_twice_is_harmless(web: Terminal) -> None:
    web.ok("keys", "web", stdin=ED25519)
    there = web.tree()
    assert web.ok("keys", "web", stdin=ED25519) == "1 key opens web\n"
    assert web.tree() == there


def test_a_file_of_keys(web: Terminal, tmp_path: Path) -> None:
    (tmp_path / "team.pub").write_text("# the team\n\n" + "\n".join(LINES) + "\n")
    web.ok("keys", "--key-file", str(tmp_path / "team.pub"), "web")
    assert len(listed(web)) == len(LINES)
    said = web("keys", "--key-file", str(tmp_path / "nosuch"), "web")
    assert said.code == 64 and "nosuch: No such file" in said.err


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{ED25519}\nssh-rsa AAAA\n", "Error: no key was taken: line 2: it is no whole ssh-rsa key"),
        (f'command="id" {ED25519}\n', "Error: no key was taken: line 1: it has options before the key"),
        ("\n", "Error: there is no public key"),
    ],
)
def test_one_that_is_none_and_none_is_taken(web: Terminal, text: str, why: str) -> None:
    before = web.tree()
    said = web("keys", "web", stdin=text)
    assert (said.code, web.tree()) == (64, before)
    assert said.err.startswith(why)


def test_a_gear_that_is_not_there_and_no_other_is_opened(web: Terminal) -> None:
    said = web("keys", "web", "nosuch", stdin=ED25519)
    assert (said.code, kept(web)) == (5, {})
    assert said.err.startswith("Error: there is no gear nosuch here")


@pytest.mark.parametrize("words", [["--repo", "web"], ["--write", "web"], ["repo://web"]])
def test_repositories_are_refused(web: Terminal, words: list[str]) -> None:
    said = web("keys", *words, stdin=ED25519)
    assert (said.code, kept(web)) == (64, {})
    assert said.err.startswith("Error: there are no repositories yet")


def test_removing(web: Terminal, tmp_path: Path) -> None:
    web.ok("keys", "web", "db", stdin=f"{ED25519}\n{README}")
    said = web.ok("remove-keys", "web", "--key", KEY.fingerprint)
    assert said == f"{KEY.fingerprint} does not open web any more\n"
    assert kept(web) == at(ED25519, "db") | at(README, "web", "db")
    assert web.ok("remove-keys", "web", "--key", KEY.fingerprint) == "No such key opened web\n"
    (tmp_path / "one.pub").write_text(README)
    web.ok("remove-keys", "web", "db", "--key-file", str(tmp_path / "one.pub"))
    assert kept(web) == at(ED25519, "db")
    web.ok("remove-keys", "db", "--key", KEY.fingerprint[:16])
    assert kept(web) == {}
    web.ok("keys", "web", stdin=f"{ED25519}\n{README}")
    assert len(web.ok("remove-keys", "web", "--all").splitlines()) == 2
    assert kept(web) == {}
    assert web("remove-keys", "web").code == 64
    assert web("remove-keys", "web", "--key", "../../../slots/0").code == 64


def test_a_gear_that_goes_takes_its_keys_along(web: Terminal) -> None:
    """One of its name that is made later is opened by nobody."""
    web.ok("keys", "web", "db", stdin=ED25519)
    web.ok("delete", "web")
    assert kept(web) == at(ED25519, "db")
    web.ok("install", "geard/sample", "web")
    assert listed(web) == {("db", KEY.fingerprint)}
    web.ok("delete", "db")
    assert kept(web) == {}


def test_what_cannot_be_linked_for_all_is_linked_for_none(web: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """db goes just before its turn."""
    link = store._link  # pyright: ignore[reportPrivateUsage]

    def unlucky(paths: Any, changes: Changes, key: str, folder: Path) -> list[Path]:
        (base(web) / "units/db/ctr-db.service").unlink(missing_ok=True)
        return link(paths, changes, key, folder)

    monkeypatch.setattr(store, "_link", unlucky)
    with pytest.raises(NotFound):
        store.add(web.host.paths, parse_keys(ED25519), ["web", "db"])
    assert not [name for name in kept(web) if name.startswith("access")]
    monkeypatch.undo()
    web.ok("keys", "web", stdin=ED25519)
    web.ok("remove-keys", "web", "--all")
    assert kept(web) == {}


@pytest.fixture
def asked(tmp_path: Path) -> Any:
    tmp_path.chmod(0o755)
    with terminal(tmp_path, "http") as gear, agent(gear.host, tmp_path / "host") as door:
        gear.ok("install", "geard/sample", "web")
        transport = HttpTransport(str(door))
        yield transport.send, gear
        transport.close()


TEXTS = (KeyText(value=ED25519),)
TO_WEB = (KeyedContainer(id="web"),)


@pytest.mark.parametrize(
    "request_",
    [
        AddKeys(keys=TEXTS, containers=TO_WEB),
        AddKeys(keys=TEXTS, permissions=(Permission(with_="web"),)),
        AddKeys(keys=TEXTS, permissions=(Permission(type="", with_="web"),), containers=TO_WEB),
    ],
)
def test_both_bodies(asked: Any, request_: AddKeys) -> None:
    send, gear = asked
    assert send(request_).ids == ("web",)
    assert kept(gear) == at(ED25519, "web")


@pytest.mark.parametrize(
    "request_",
    [
        AddKeys(keys=(), containers=TO_WEB),
        AddKeys(keys=TEXTS),
        AddKeys(keys=(KeyText(value=ED25519, type="pem"),), containers=TO_WEB),
        AddKeys(keys=(KeyText(value=f"{ED25519}\n{README}"),), containers=TO_WEB),
        AddKeys(keys=TEXTS, containers=TO_WEB, repositories=(KeyedRepository(id="web"),)),
        AddKeys(keys=TEXTS, permissions=(Permission(type="repository", with_=KeyedRepository(id="web")),)),
        AddKeys(keys=TEXTS, permissions=(Permission(type="router", with_="web"),)),
        AddKeys(keys=TEXTS, permissions=(Permission(),)),
        AddKeys(keys=TEXTS, containers=(KeyedContainer(id="../web"),)),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_kept(asked: Any, request_: AddKeys) -> None:
    send, gear = asked
    with pytest.raises(Failure) as failure:
        send(request_)
    assert failure.value.kind == "Invalid"
    assert kept(gear) == {}


def test_the_folders_are_no_way_out(web: Terminal) -> None:
    """Links lead to keys/ and nowhere else, wherever the store is mounted."""
    web.ok("keys", "web", stdin=ED25519)
    link = store.gear_folder(web.host.paths, "web") / KEY.id
    assert os.readlink(link) == f"../../../../keys/{KEY.id[:2]}/{KEY.id}"
