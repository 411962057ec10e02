"""`gear setup`: make this machine ready, or say what it lacks."""

from __future__ import annotations

import click

from geard import __version__
from geard.cli.asking import ask_places, places
from geard.cli.main import verb
from geard.cli.output import output_option, structured, with_place
from geard.setup.requests import GetVersion, SetUpHost
from geard.words import builtins_of


@verb("setup", group="This host")
@click.option("--check", is_flag=True, help="Only say what is missing; make nothing.")
@click.option(
    "--recover",
    is_flag=True,
    help="Take over the gears on /var/lib/containers: a disk of another machine, or after /etc was lost.",
)
@click.option("--dry-run", is_flag=True, help="With --recover: only say what would be done.")
@output_option
@click.pass_context
def setup(ctx: click.Context, check: bool, recover: bool, dry_run: bool, form: str) -> None:
    """Make this machine ready for gears; what is there already is left alone."""
    if dry_run and not recover:
        raise click.UsageError("--dry-run goes with --recover; --check says what this machine lacks")
    asked = SetUpHost(check=check, recover=recover, dry_run=dry_run)
    for _, report in ask_places(places(()), lambda at: asked, follow=True):
        if form in ("json", "yaml"):
            structured(builtins_of(report), form)
        else:
            click.echo(report.text())
        if not report.ready:
            ctx.exit(1)


@verb("version", group="This host")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@output_option
def version(hosts: tuple[str, ...], form: str) -> None:
    """Say which geard this is; with hosts, which one does the work there."""
    if not hosts:
        if form in ("json", "yaml"):
            structured({"Version": __version__}, form)
        else:
            click.echo(f"gear {__version__}")
        return
    found = list(ask_places(places(hosts), lambda at: GetVersion()))
    if form in ("json", "yaml"):
        structured([with_place(answer, str(place)) for place, answer in found], form)
        return
    for place, answer in found:
        click.echo(f"{str(place) or 'this machine'}: {answer.text()}")
