"""The words of repositories."""

from __future__ import annotations

from typing import Literal

from geard.request import Answer, Nothing, Piece, Request, Route, Stream
from geard.words import Word


class CreatedRepository(Answer):
    id: str
    login: str
    """the user to log in as"""
    source: str = ""
    """what it is being filled from, behind this answer"""

    def text(self) -> str:
        return f"{self.made()}; {self.clone()}"

    def made(self) -> str:
        return f"Repository {self.id} is created" + (
            f" and is being filled from {self.source}" if self.source else ""
        )

    def clone(self, host: str = "HOST", agent: str = "http://localhost:43273") -> str:
        """How, by SSH to `host` and from the agent at that URL."""
        return f"git clone {self.login}@{host}:{self.id}, or by a token {agent}/git/{self.id}"


class CreateRepository(Request[CreatedRepository]):
    """Make a git repository: an empty one, or one with all branches and tags of another. Raises AlreadyExists."""

    route = Route("PUT", "/repository/{id}", in_query=("source",))
    example = {"Id": "my-sample-repo", "Source": "https://github.com/pmorie/simple-html"}

    id: str
    source: str = ""
    """a URL (https, http, git), or another repository of this machine"""

    def names(self) -> tuple[str, ...]:
        """Who may ask about some only may copy from no other either."""
        here = self.source and ("://" not in self.source or self.source.startswith("repo://"))
        return (self.id, *((self.source.rpartition("/")[2],) if here else ()))


class FilledRepository(Answer):
    id: str


class FillRepository(Request[FilledRepository]):
    """Fetch into a repository that was made just now what it is to hold; where that fails, it is gone again."""

    id: str
    source: str


class ListedRepository(Word):
    id: str
    login: str
    bytes: int
    """on disk"""
    refs: int
    head: str = ""
    """the branch that a clone checks out"""
    changed: str = ""
    """RFC 3339: the last push, or its creation"""


class RepositoryList(Answer):
    repositories: tuple[ListedRepository, ...]

    def text(self) -> str:
        return "\n".join(f"{each.id} {each.bytes} {each.refs} {each.head}" for each in self.repositories)


class ListRepositories(Request[RepositoryList]):
    """The repositories of a machine."""

    route = Route("GET", "/repositories", scope="read", reach="shown")


class DeletedRepository(Answer):
    id: str
    deleted: bool
    """False where it was not there"""

    def text(self) -> str:
        return f"Deleted repository {self.id}" if self.deleted else f"Repository {self.id} was not there"


class DeleteRepository(Request[DeletedRepository]):
    """Delete a repository with all in it; what is under way in it is ended. Unknown is fine."""

    route = Route("DELETE", "/repository/{id}")
    example = {"Id": "my-sample-repo"}

    id: str


class RenamedRepository(Answer):
    id: str
    name: str
    login: str

    def text(self) -> str:
        return self.told()

    def told(self, host: str = "HOST") -> str:
        return (
            f"Repository {self.id} is {self.name} now; git remote set-url origin {self.login}@{host}:{self.name}"
        )


class RenameRepository(Request[RenamedRepository]):
    """Give a repository another name. Its keys, and what is under way in it, go along."""

    route = Route("POST", "/repository/{id}/name")
    example = {"Id": "my-sample-repo", "Name": "my-repo"}

    id: str
    name: str

    def names(self) -> tuple[str, ...]:
        return (self.id, self.name)


class NotePushes(Request[Nothing]):
    """Tell of the pushes that repositories' hooks have left word of."""


class ArchiveRepository(Request[Stream[Piece]]):
    """The files of a repository at a branch, a tag or a commit, in one archive."""

    route = Route("GET", "/repository/{id}/archive/{ref}", scope="read", rest=True)

    id: str
    ref: str
    format: Literal["zip", "tar", "tar.gz"] = "zip"


class TidiedRepository(Answer):
    id: str
    message: str = ""

    def text(self) -> str:
        return self.message


class TidyRepository(Request[TidiedRepository]):
    """Pack what pushes brought, and drop what no branch or tag leads to any more (git gc)."""

    route = Route("POST", "/repository/{id}/gc")
    example = {"Id": "my-sample-repo"}

    id: str


class Webhook(Answer):
    id: str
    url: str = ""
    """empty where nobody is told"""

    def text(self) -> str:
        if not self.url:
            return f"Nobody is told of pushes to {self.id}"
        return f"Pushes to {self.id} are told to {self.url}"


class SetWebhook(Request[Webhook]):
    """Have a URL told of every push: JSON by POST, signed, and tried again as callbacks are."""

    route = Route("PUT", "/repository/{id}/webhook", scope="admin")
    example = {"Id": "my-sample-repo", "Url": "https://ci.example.com/pushed"}

    id: str
    url: str


class GetWebhook(Request[Webhook]):
    """Who is told of the pushes to a repository."""

    route = Route("GET", "/repository/{id}/webhook", scope="admin")

    id: str


class RemoveWebhook(Request[Webhook]):
    """Tell nobody of pushes any more; that nobody is told is fine."""

    route = Route("DELETE", "/repository/{id}/webhook", scope="admin")

    id: str
