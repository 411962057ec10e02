"""`gear pull` and `gear login`."""

from __future__ import annotations

import sys

import click

from geard.cli.asking import ask_places, places
from geard.cli.main import verb
from geard.cli.parts import engine_option
from geard.images.names import check_image
from geard.images.requests import LogIn, PullImage


@verb("pull", group="Images")
@click.argument("image")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@engine_option
@click.option("--no-wait", is_flag=True, help="Return as soon as the request is on record.")
def pull(image: str, hosts: tuple[str, ...], engine: str, no_wait: bool) -> None:
    """Bring the newest image of that name to machines; gears use it when installed anew."""
    check_image(image)
    for place, answer in ask_places(
        places(hosts), lambda at: PullImage(image=image, engine=engine), follow=not no_wait
    ):
        if no_wait:
            click.echo(f"{str(place) + ': ' if hosts else ''}{answer.text()}")


@verb("login", group="Images")
@click.argument("registry")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("-u", "--user", prompt=True, help="The user's name at the registry.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@engine_option
def login(registry: str, hosts: tuple[str, ...], user: str, password_stdin: bool, engine: str) -> None:
    """Prove credentials to a registry, and keep them on machines for their pulls."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = str(click.prompt("Password", hide_input=True, err=True))
    wish = LogIn(registry=registry, user=user, password=password, engine=engine)
    for place, _ in ask_places(places(hosts), lambda at: wish):
        click.echo(f"{str(place) or 'this machine'}: logged in to {registry}")
