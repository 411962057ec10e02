"""The words of environments."""

from __future__ import annotations

from typing import ClassVar

from geard.environments.file import render_lines
from geard.request import Answer, Nothing, Request, Route
from geard.words import Part, Word


class Variable(Word):
    name: str
    value: str = ""


class Environment(Word):
    """What a gear is told to read: an environment by id, with variables to put into it first.

    `source` is an http(s) URL that the agent fetches; its variables come before the given ones.
    """

    id: str = ""
    variables: tuple[Variable, ...] = ()
    source: str = ""
    keep: bool = False
    """the variables that are there stay, but for those given"""


class EnvironmentPart(Part):
    key: ClassVar[str] = "Environment"
    value: Environment

    def names(self) -> tuple[str, ...]:
        return (self.value.id,) if self.value.id else ()


class Variables(Answer):
    example = {"Id": "web-1", "Variables": [{"Name": "TZ", "Value": "Europe/Berlin"}]}

    id: str
    variables: tuple[Variable, ...] = ()

    def text(self) -> str:
        """As an --env-file has it."""
        return render_lines({variable.name: variable.value for variable in self.variables})


class GetEnvironment(Request[Variables]):
    """The variables of an environment. Values are secrets: reading them takes more than the scope *read*."""

    route = Route("GET", "/environment/{id}", scope="operate")

    id: str


class SetEnvironment(Request[Nothing]):
    """Replace all variables of an environment."""

    route = Route("PUT", "/environment/{id}")
    example = {"Id": "web-1", "Variables": [{"Name": "TZ", "Value": "Europe/Berlin"}]}

    id: str
    variables: tuple[Variable, ...] = ()
    source: str = ""


class PatchEnvironment(Request[Nothing]):
    """Set and remove single variables of an environment; the others stay."""

    route = Route("PATCH", "/environment/{id}")
    example = {"Id": "web-1", "Variables": [{"Name": "TZ", "Value": "UTC"}], "Remove": ["DEBUG"]}

    id: str
    variables: tuple[Variable, ...] = ()
    source: str = ""
    remove: tuple[str, ...] = ()


class DeleteEnvironment(Request[Nothing]):
    """Forget an environment; unknown is fine."""

    route = Route("DELETE", "/environment/{id}")

    id: str
