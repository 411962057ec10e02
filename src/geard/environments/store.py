"""Environments on disk: `env/contents/ab/ID`, readable by root alone."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

from geard.environments.file import check_variables, parse, render
from geard.environments.requests import Variable
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, read_text
from geard.identifiers import bucket, check_id


def place(paths: Paths, id: str) -> Path:
    return paths.base / "env" / "contents" / bucket(check_id(id, "environment")) / id


def as_mapping(variables: Iterable[Variable]) -> dict[str, str]:
    return {variable.name: variable.value for variable in variables}


def load(paths: Paths, id: str) -> dict[str, str] | None:
    """None where there is no such environment."""
    text = read_text(place(paths, id))
    return None if text is None else parse(text)


def replace(paths: Paths, changes: Changes, id: str, variables: Mapping[str, str]) -> None:
    with _locked(paths, changes, id):
        _write(paths, changes, id, dict(variables))


def patch(
    paths: Paths, changes: Changes, id: str, variables: Mapping[str, str], remove: Iterable[str] = ()
) -> None:
    """Set these, remove those, keep the rest, in the order they came first."""
    with _locked(paths, changes, id):
        now = load(paths, id) or {}
        now |= variables
        for name in remove:
            now.pop(name, None)
        _write(paths, changes, id, now)


def delete(paths: Paths, changes: Changes, id: str) -> bool:
    if not place(paths, id).parent.is_dir():
        return False
    with _locked(paths, changes, id):
        changes.remove(_draft(paths, id))
        return changes.remove(place(paths, id))


@contextmanager
def _locked(paths: Paths, changes: Changes, id: str) -> Generator[None]:
    """One lock for the folder of a bucket: two writers of one environment must not lose each other's variables."""
    changes.folder(paths.base / "env", 0o700)
    changes.folder(place(paths, id).parent, 0o700)
    with locked(place(paths, id).parent):
        yield


def _draft(paths: Paths, id: str) -> Path:
    """Where a killed writer leaves half an environment: the next one of that name takes it away."""
    return place(paths, id).with_name(f".{id}.tmp")


def _write(paths: Paths, changes: Changes, id: str, variables: dict[str, str]) -> None:
    check_variables(variables)
    path = place(paths, id)
    if load(paths, id) == variables:
        changes.remove(_draft(paths, id))
        return
    changes.write(path, render(variables), 0o600, draft=_draft(paths, id))
