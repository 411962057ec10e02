"""What somebody who comes by SSH may have git do: three programs, on one repository. Pure."""

from __future__ import annotations

import shlex

from geard.failures import Denied
from geard.identifiers import repository_login

READ = {
    "git-upload-pack": ("git", "upload-pack", "--strict"),
    "git-upload-archive": ("git", "upload-archive"),
}
WRITE = {"git-receive-pack": ("git", "receive-pack")}
ON_DISK = "/var/lib/containers/git/"


def wanted(command: str | None, id: str, *, write: bool) -> tuple[str, tuple[str, ...]]:
    """The program's name, and the words of it but for the repository, which comes last.

    Nothing of the command but which program it names goes on. Raises Denied.
    """
    hint = f"git clone {repository_login(id)}@HOST:{id}"
    try:
        words = shlex.split(command or "")
    except ValueError:
        words = []
    if len(words) == 3 and words[0] == "git":
        words = [f"git-{words[1]}", words[2]]
    if len(words) != 2 or words[0] not in {**READ, **WRITE}:
        raise Denied(f"{id} is a git repository: nothing but git's fetch and push is let in", hint=hint)
    program, path = words
    if not _is_it(path, id):
        raise Denied(f"{repository_login(id)} has the repository {id}, and no other", hint=hint)
    if program in WRITE and not write:
        raise Denied(f"with this key {id} can be fetched, not pushed to", hint=f"gear keys --repo --write … {id}")
    return program, {**READ, **WRITE}[program]


def _is_it(path: str, id: str) -> bool:
    """`NAME`, `NAME.git`, `~`, as `git clone` writes them for HOST:NAME and ssh://HOST/NAME."""
    rest = path.removeprefix(ON_DISK).strip("/").removeprefix("~").strip("/")
    return rest in ("", ".", id, f"{id}.git")
