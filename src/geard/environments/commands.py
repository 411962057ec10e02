"""`gear env`, `gear set-env`, and the options that `gear install` takes for its environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from geard.cli.asking import ask, locators
from geard.cli.completion import GearName
from geard.cli.main import verb
from geard.cli.output import output_option, structured, with_place
from geard.cli.parts import adds_to_install
from geard.environments.file import parse_argument
from geard.environments.given import read_file
from geard.environments.requests import (
    DeleteEnvironment,
    Environment,
    EnvironmentPart,
    GetEnvironment,
    PatchEnvironment,
    SetEnvironment,
    Variable,
)
from geard.failures import Invalid
from geard.words import Part


def as_variables(found: dict[str, str]) -> tuple[Variable, ...]:
    return tuple(Variable(name=name, value=value) for name, value in found.items())


def _part(given: Mapping[str, Any], variables: Mapping[str, str]) -> Part | None:
    found: dict[str, str] = {}
    for path in given["env_files"]:
        found |= read_file(path)
    found |= variables
    if not (found or given["env_url"] or given["env_id"]):
        return None
    return EnvironmentPart(
        value=Environment(id=given["env_id"], variables=as_variables(found), source=given["env_url"])
    )


adds_to_install(
    _part,
    [
        click.Option(
            ["--env-file", "env_files"],
            multiple=True,
            metavar="FILE",
            help="Read NAME=VALUE lines from FILE.",
        ),
        click.Option(["--env-url"], default="", metavar="URL", help="Have the agent fetch NAME=VALUE lines."),
        click.Option(["--env-id"], default="", metavar="ID", help="Read this environment, not the gear's own."),
    ],
)


@verb("env", group="Share")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@output_option
def env(names: tuple[str, ...], form: str) -> None:
    """Print the variables of environments (a gear's own has the gear's name)."""
    found: list[dict[str, Any]] = []
    for target, answer in ask(locators(names, what="environment"), lambda at: GetEnvironment(id=at.id)):
        if form in ("json", "yaml"):
            found.append(with_place(answer, str(target.at)))
        elif form == "name":
            click.echo("\n".join(variable.name for variable in answer.variables))
        elif answer.variables:
            click.echo(answer.text())
    if form in ("json", "yaml"):
        structured(found, form)


@verb("set-env", group="Share")
@click.argument("arguments", nargs=-1, required=True, metavar="NAME... [VARIABLE=VALUE]...", type=GearName())
@click.option("--reset", is_flag=True, help="Start from nothing: what is not given is removed.")
@click.option("--env-file", "env_files", multiple=True, metavar="FILE", help="Read NAME=VALUE lines from FILE.")
@click.option("--env-url", default="", metavar="URL", help="Have the agent fetch NAME=VALUE lines from URL.")
@click.option("--remove", multiple=True, metavar="VARIABLE", help="Remove one variable.")
def set_env(
    arguments: tuple[str, ...], reset: bool, env_files: tuple[str, ...], env_url: str, remove: tuple[str, ...]
) -> None:
    """Set variables of environments; gears read them at their next start."""
    names = [argument for argument in arguments if "=" not in argument]
    found: dict[str, str] = {}
    for path in env_files:
        found |= read_file(path)
    found |= dict(parse_argument(argument) for argument in arguments if "=" in argument)
    if not names:
        raise Invalid("which environment?", hint="gear set-env NAME... VARIABLE=VALUE...")
    if reset and remove:
        raise Invalid("--reset removes every variable already; --remove beside it says nothing more")
    if not (found or reset or remove or env_url):
        raise Invalid("nothing to set", hint="VARIABLE=VALUE, --env-file, --remove or --reset")
    variables = as_variables(found)
    targets = locators(names, what="environment")
    if reset:
        for _ in ask(targets, lambda at: SetEnvironment(id=at.id, variables=variables, source=env_url)):
            pass
        return
    for _ in ask(
        targets, lambda at: PatchEnvironment(id=at.id, variables=variables, source=env_url, remove=remove)
    ):
        pass


@verb("delete-env", group="Share")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
def delete_env(names: tuple[str, ...]) -> None:
    """Forget environments; what is not there is fine."""
    for _ in ask(locators(names, what="environment"), lambda at: DeleteEnvironment(id=at.id)):
        pass
