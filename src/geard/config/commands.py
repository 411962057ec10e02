"""`gear config`: the settings in /etc/geard/geard.toml."""

from __future__ import annotations

import click

from geard.cli.asking import ask_places, places
from geard.cli.main import verbs
from geard.cli.output import output_option, printable, structured, with_place
from geard.config.requests import GetSettings

config = verbs(
    "config", group="This host", doc="Show or check what is settled for a machine in /etc/geard/geard.toml."
)


@config.command("show")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@output_option
def show(hosts: tuple[str, ...], form: str) -> None:
    """Print every setting in force, and where it comes from."""
    found = list(ask_places(places(hosts), lambda at: GetSettings()))
    if form in ("json", "yaml"):
        structured([with_place(answer, str(place)) for place, answer in found], form)
        return
    for place, answer in found:
        if len(hosts) > 1:
            click.echo(f"# {place}")
        click.echo("\n".join(printable(line) for line in answer.text().splitlines()))


@config.command("check")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
def check(hosts: tuple[str, ...]) -> None:
    """Say whether the settings are right; the first mistake otherwise."""
    for place, answer in ask_places(places(hosts), lambda at: GetSettings()):
        own = sum(setting.origin != "default" for setting in answer.settings)
        where = f"{place}: " if len(hosts) > 1 else ""
        click.echo(f"{where}{answer.path} is right: {own} setting{'s' if own != 1 else ''} of your own")
