"""`gear setup`: make this machine ready, or say what it lacks."""

from __future__ import annotations

import click

from geard.cli.asking import ask_places, places
from geard.cli.main import verb
from geard.cli.output import output_option, structured
from geard.setup.requests import SetUpHost
from geard.words import builtins_of


@verb("setup", group="This host")
@click.option("--check", is_flag=True, help="Only say what is missing; make nothing.")
@output_option
@click.pass_context
def setup(ctx: click.Context, check: bool, form: str) -> None:
    """Make this machine ready for gears; what is there already is left alone."""
    for _, report in ask_places(places(()), lambda at: SetUpHost(check=check), follow=True):
        if form in ("json", "yaml"):
            structured(builtins_of(report), form)
        else:
            click.echo(report.text())
        if not report.ready:
            ctx.exit(1)
