"""`gear plan`, `gear deploy`, `gear undeploy`. What they do is in `terminal.py`, loaded by those alone who ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from geard.cli.main import verb
from geard.cli.output import outcome_option, output_option
from geard.cli.together import reads_names

# ruff: noqa: PLC0415 - 20 ms that every other verb need not pay

F = TypeVar("F", bound=Callable[..., Any])


def _about_the_file(command: F) -> F:
    """Adds the options that say where a descriptor and its instances are, and who must answer."""
    for option in reversed(
        (
            click.option(
                "--state", default="", metavar="FILE", type=click.Path(),
                help="The instances file. [default: beside FILE]",
            ),
            click.option("--adopt", is_flag=True, help="Take over gears that no file names."),
            click.option(
                "--on-unreachable",
                type=click.Choice(["stop", "skip"]),
                default="stop",
                help="A host does not answer: do nothing, or go on with the others. [default: stop]",
            ),
            click.option(
                "--timeout", type=click.FloatRange(min=0.1), default=300.0, metavar="SECONDS",
                help="For fetching FILE where it is a URL. [default: 300]",
            ),
            click.option("-k", "--insecure", is_flag=True, help="Do not check the certificate of a URL."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


@verb("plan", group="Deployments")
@click.argument("file", metavar="FILE|URL", type=click.Path())
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@_about_the_file
@output_option
def plan(file: str, hosts: tuple[str, ...], form: str, **given: Any) -> int:
    """Say what deploying FILE would add, change, move and remove. Changes nothing.

    Exit status 0: nothing would change; 2: something would. Without hosts, those where its gears are.
    """
    from geard.deployments import terminal

    return terminal.plan(file, hosts, form, given)


@verb("deploy", group="Deployments")
@click.argument("file", metavar="FILE|URL", type=click.Path(), required=False, default="")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@_about_the_file
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--if-match", default="", metavar="PLAN", help="Only if this still is the plan gear plan showed.")
@click.option(
    "--at-once", type=click.IntRange(1, 100), default=1, show_default=True,
    help="How many gears of a container may be changed at the same time.",
)  # fmt: skip
@click.option("--rollback-on-failure", is_flag=True, help="Have again what there was, if something fails.")
@click.option("--schema", "only_schema", is_flag=True, help="Print the JSON Schema of a descriptor.")
@click.option("--isolate", is_flag=True, hidden=True, help="The default, said aloud.")
@outcome_option
def deploy(file: str, hosts: tuple[str, ...], form: str, **given: Any) -> None:
    """Have the containers of FILE run on HOSTs, linked with each other; again, bring in what has changed.

    Shows the plan, and asks on a terminal. What is deployed as described is left alone.

    \b
    gear deploy app.json h1 h2             two hosts; localhost is this machine's agent
    gear plan app.json h1 h2               what that would do
    gear undeploy app.json
    """
    from geard.deployments import terminal

    terminal.deploy(file, hosts, form, given)


@verb("undeploy", group="Deployments")
@click.argument("file", metavar="FILE|URL", type=click.Path())
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@_about_the_file
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@outcome_option
def undeploy(file: str, hosts: tuple[str, ...], form: str, **given: Any) -> None:
    """Remove all gears of a deployment, wherever they are. Volumes and environments stay, as with gear delete."""
    from geard.deployments import terminal

    terminal.undeploy(file, hosts, form, given)


@reads_names
def placed(path: str) -> list[str]:
    """The gears of a deployment, for --with."""
    from geard.deployments import terminal

    return terminal.placed(path)
