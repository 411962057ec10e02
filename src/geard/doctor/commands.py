"""`gear doctor`: a host looked over."""

from __future__ import annotations

import click
import msgspec

from geard import __version__
from geard.cli.asking import ask_places, places
from geard.cli.main import verb
from geard.cli.output import output_option, printable, structured, with_place
from geard.doctor.requests import Diagnose, Diagnosis, Finding


@verb("doctor", group="This host")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@output_option
@click.pass_context
def doctor(ctx: click.Context, hosts: tuple[str, ...], form: str) -> None:
    """Look hosts over: what is broken or missing, what each lack costs, and what would help.

    Ends with 1 where something is broken or missing, with 0 where there is only advice.
    """
    found = [(place, _compared(answer)) for place, answer in ask_places(places(hosts), lambda at: Diagnose())]
    if form in ("json", "yaml"):
        structured([with_place(answer, str(place)) for place, answer in found], form)
    else:
        for place, answer in found:
            if len(hosts) > 1:
                click.echo(f"# {place}")
            click.echo("\n".join(printable(line) for line in answer.text().splitlines()))
    if not all(answer.well for _, answer in found):
        ctx.exit(1)


def _compared(answer: Diagnosis) -> Diagnosis:
    """With a word where that machine has another geard than this one."""
    if answer.version == __version__:
        return answer
    detail = f"{answer.version} there, this gear is {__version__}"
    costs = "what only the newer one knows is refused by the older"
    found = Finding(what="versions", state="advice", detail=detail, costs=costs, remedy="upgrade the older")
    return msgspec.structs.replace(answer, findings=(*answer.findings, found))
