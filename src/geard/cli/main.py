"""The root command: finds the rooms' verbs, shows them in groups, turns failures into exit codes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NoReturn, TypeVar

import click
from click.shell_completion import CompletionItem

from geard import __version__, catalog
from geard.cli.asking import session, tell
from geard.cli.contents import Entry, carried
from geard.cli.exits import USAGE, exit_code
from geard.failures import Failure, Invalid
from geard.identifiers import parse_request_id

F = TypeVar("F", bound=Callable[..., Any])

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
GROUPS = ("Gears", "Jobs", "Deployments", "Look", "Share", "Repositories", "Images", "This host", "Shell")


class VerbGroup(click.Group):
    """Verbs with one word before them: `gear secret create`."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = self.commands.get(cmd_name)
        if found is None and not ctx.resilient_parsing:
            _no_such_verb(ctx, cmd_name, self.commands)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(_said_shortly(self.commands))


class Verbs(click.Group):
    """All rooms' commands. A room says which group of the help each belongs to: `@verb(group="Look")`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in contents()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        for entry in contents():
            if cmd_name in (entry.name, *entry.aliases):
                importlib.import_module(entry.module)
                return self.commands[entry.name]
        if not ctx.resilient_parsing:
            _no_such_verb(ctx, cmd_name, [name for entry in contents() for name in (entry.name, *entry.aliases)])
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for group in GROUPS:
            shown = {entry.name: entry.shown() for entry in contents() if entry.group == group}
            if rows := _said_shortly(shown):
                with formatter.section(group):
                    formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        begun = [entry.shown() for entry in contents() if entry.name.startswith(incomplete) and not entry.hidden]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(each.name, help=each.get_short_help_str()) for each in begun), *options]


@cache
def contents() -> list[Entry]:
    """Every verb, by name; the rooms are loaded only where nothing was written down."""
    return carried() or said_by_the_rooms()


def said_by_the_rooms() -> list[Entry]:
    catalog.doors("commands")
    return [
        Entry(
            name,
            _module(command),
            _groups[name],
            command.get_short_help_str(200),
            tuple(alias for alias, of in _aliases.items() if of == name),
            command.hidden,
        )
        for name, command in sorted(root.commands.items())
    ]


def _module(command: click.Command) -> str:
    while isinstance(command, click.Group):
        command = next(iter(command.commands.values()))
    return str(getattr(command.callback, "__module__", ""))


def _said_shortly(commands: Mapping[str, click.Command]) -> list[tuple[str, str]]:
    """Each with its whole first sentence, where click would cut it off."""
    return [(name, each.get_short_help_str(200)) for name, each in sorted(commands.items()) if not each.hidden]


def _no_such_verb(ctx: click.Context, name: str, known: Iterable[str]) -> NoReturn:
    import difflib  # noqa: PLC0415 - for who mistypes

    verbs = sorted(known)
    begun = [verb for verb in verbs if len(name) > 2 and verb.startswith(name)]
    near = begun or difflib.get_close_matches(name, verbs, 1)
    ctx.fail(f"there is no '{ctx.command_path} {name}'" + (f"; did you mean '{near[0]}'?" if near else ""))


_groups: dict[str, str] = {}
_aliases: dict[str, str] = {}


@click.group(cls=Verbs, context_settings=SETTINGS, invoke_without_command=True)
@click.option(
    "--request-id", default="", metavar="ID", help="Join or repeat a request: 32 hex digits or 22 base64url."
)
@click.option(
    "--callback", default="", metavar="URL", help="Have the agent tell URL when what is asked has ended."
)
@click.option("--transport", type=click.Choice(["http"]), default="http", hidden=True)
@click.version_option(__version__, "-V", "--version", prog_name="gear", message="%(prog)s %(version)s")
@click.pass_context
def root(ctx: click.Context, request_id: str, callback: str, transport: str) -> None:
    """Run container images as systemd services.

    \b
    gear install nginx web -p 80:8080 --start     on this machine, no agent needed
    gear status localhost/web                     through the agent that listens there
    """
    session.request_id = parse_request_id(request_id) if request_id else ""
    session.callback, session.changes = callback, False
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _verbs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in root.list_commands(ctx) if name.startswith(incomplete)]


@root.command("help")
@click.argument("verb", nargs=-1, metavar="[VERB]", shell_complete=_verbs)
@click.pass_context
def help_for(ctx: click.Context, verb: tuple[str, ...]) -> None:
    """Say what gear does, or how one verb is used."""
    about = ctx.parent or ctx
    for word in verb:
        if not isinstance(about.command, click.Group):
            about.fail(f"'{about.command_path}' has no verbs of its own")
        command = about.command.get_command(about, word)
        assert command is not None  # get_command fails for what is not there
        about = click.Context(command, info_name=word, parent=about)
    click.echo(about.get_help())


_groups["help"] = "Shell"


def verb(name: str, *aliases: str, group: str, **options: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a `gear` verb, shown in this group of the help."""

    def register(function: Callable[..., Any]) -> click.Command:
        decorate: Any = click.command(name, **options)
        command: click.Command = decorate(function)
        root.add_command(command)
        _groups[name] = group
        _aliases.update(dict.fromkeys(aliases, name))
        return command

    return register


def verbs(name: str, *, group: str, doc: str) -> click.Group:
    """A `gear` verb that has verbs of its own: `@verbs("secret", …).command("create")`."""
    found = VerbGroup(name, help=doc)
    root.add_command(found)
    _groups[name] = group
    return found


def run(argv: list[str] | None = None) -> int:
    """Run one command line; the exit code."""
    words = sys.argv[1:] if argv is None else argv
    session.behind = words[words.index("--") + 1 :] if "--" in words else []
    try:
        result = root.main(args=argv, prog_name="gear", standalone_mode=False)
        if isinstance(result, int) and result:
            return result
        if session.callback and not session.changes:
            raise Invalid(
                "nothing was asked that ends later: nobody is told", hint="--callback goes with a change"
            )
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.UsageError as error:
        error.show(sys.stderr)
        return USAGE
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show(sys.stderr)
        return error.exit_code
    except Failure as failure:
        tell(failure)
    except KeyboardInterrupt:
        click.echo("interrupted; what was asked goes on, 'gear status' tells", err=True)
        return 130
    except BrokenPipeError:
        return 141
    return exit_code(session.failures)
