"""`gear`: puts the terminal together. The one place that loads the host, and only when this machine is asked.

Its imports inside functions are on purpose: a laptop's `gear status h1/web` never loads asyncio or D-Bus.
"""

# ruff: noqa: PLC0415
from __future__ import annotations

import sys

import click

from geard.cli import main as terminal
from geard.cli.asking import session
from geard.failures import Denied
from geard.transport import Transport


def _this_machine(request_id: str) -> Transport:
    from geard.daemon.local import LocalPerformer
    from geard.host.here import this_host
    from geard.transport.local import LocalTransport

    return LocalTransport(lambda: LocalPerformer(this_host()), request_id)


@terminal.verb("daemon", group="This host")
@click.option("-v", "--verbose", is_flag=True, help="Tell more on stderr.")
@click.option(
    "--listen",
    multiple=True,
    metavar="ADDRESS[:PORT]",
    help="Also for other machines, by TLS, beside [agent] listen of geard.toml. May be repeated.",
)
@click.option("--has-env-file", is_flag=True, hidden=True, help="The README of 2014 had it; now it is always so.")
def daemon(verbose: bool, listen: tuple[str, ...], has_env_file: bool) -> None:
    """Be the agent: serve requests on /run/geard/geard.sock and, for root, on port 43273 of loopback."""
    import asyncio
    import logging
    import os

    from geard.daemon.server import Listen, serve
    from geard.host.here import this_host
    from geard.host.journal_writing import handler
    from geard.trust.settings import parse_listen

    if os.geteuid() != 0:
        raise Denied("the agent runs as root: it has systemd and the engine do things", hint="sudo gear daemon")
    for text in listen:
        parse_listen(text)
    level = logging.DEBUG if verbose else logging.INFO
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler()])

    async def run() -> None:
        await serve(this_host(), listen=Listen(afar=listen))

    asyncio.run(run())


@terminal.verb("routes", group="This host")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["table", "openapi"]),
    default="table",
    help="A line for each, or all there is to know of them as an OpenAPI 3.1 document.",
)
def routes(form: str) -> None:
    """Print what the agent answers over HTTP, and who may ask."""
    from geard import catalog
    from geard.daemon.table import entries, render_table
    from geard.dispatch.operation import all_operations

    catalog.load()
    found = entries(all_operations())
    if form == "table":
        click.echo(render_table(found))
        return
    from geard.daemon.openapi import document
    from geard.daemon.pages import PAGES, render_json
    from geard.daemon.refusing import STATUS

    click.echo(render_json(document(found, PAGES, STATUS)), nl=False)


def main() -> None:
    session.local = _this_machine
    sys.exit(terminal.run())


if __name__ == "__main__":
    main()
