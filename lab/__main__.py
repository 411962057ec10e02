"""The command line of the lab; see the package's docstring for what a lab is."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict

from lab.base import SUITES
from lab.exec import GONE, execute
from lab.host import Host
from lab.labs import Lab
from lab.machine import LabError
from lab.places import DEFAULT_LAB


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="scripts/lab", description="Real hosts to try geard on.")
    whole.add_argument(
        "--lab",
        default=DEFAULT_LAB,
        metavar="NAME",
        help="which lab; several can be up side by side (GEARD_LAB, else lab)",
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    up = commands.add_parser(
        "up", help="have hosts h1 to hN up, with geard of this tree; starts what is down, renews what is old"
    )
    up.add_argument("count", nargs="?", type=int, default=0, metavar="N")
    up.add_argument("--suite", choices=SUITES, help=f"for new hosts (else {SUITES[0]})")
    up.add_argument("--bare", action="store_true", help="install no geard")

    run = commands.add_parser(
        "exec", help="run a command in a host: stdin, stdout, stderr and exit status are its own"
    )
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="HOST [--] COMMAND")

    shell = commands.add_parser("shell", help="a root shell in a host, on a terminal of its own if stdin is one")
    shell.add_argument("host")

    outside = commands.add_parser("outside", help="run a command from the lab's network, as another machine would")
    outside.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")

    status = commands.add_parser("status", help="the hosts and how they are")
    status.add_argument("-o", dest="output", choices=("text", "json"), default="text")

    for name, text in (
        ("reboot", "shut a host down in good order and start it again"),
        ("kill", "cut a host's power; `up` starts it again"),
    ):
        commands.add_parser(name, help=text).add_argument("host")
    load = commands.add_parser(
        "images", help="have images of applications in all hosts: etcd, haproxy, shop-app, redis, githost"
    )
    load.add_argument("names", nargs="*", metavar="NAME")

    down = commands.add_parser("down", help="remove all hosts of the lab, or one, and everything of theirs")
    down.add_argument("host", nargs="?")
    return whole


def words_of(arguments: argparse.Namespace) -> list[str]:
    words: list[str] = arguments.words
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        raise LabError("say which command to run")
    return words


def shell(host: Host) -> int:
    if not sys.stdin.isatty():
        return execute(host.network.lab, [host.name, "bash", "--login"])
    leader = host.leader()
    if leader is None:
        raise LabError(f"{host.name} is down; `scripts/lab up` starts it")
    # in a unit of its own, with a terminal made inside: job control, sudo and tmux find what they expect
    inside = ["systemd-run", "--quiet", "--pty", "--wait", "--collect", "--working-directory=/root"]
    environment = [f"TERM={os.environ.get('TERM', 'linux')}", "HOME=/root"]
    settings = [f"--setenv={setting}" for setting in environment]
    enter = ["nsenter", "--target", str(leader), "--all", "env", *environment]
    return subprocess.run([*enter, *inside, *settings, "bash", "--login"], check=False).returncode


def show_status(lab: Lab, output: str) -> None:
    hosts = lab.status()
    if output == "json":
        print(json.dumps([asdict(host) for host in hosts], indent=1))
        return
    for host in hosts:
        print(f"{host.name:5}{host.address:14}{host.state:10}{host.suite:10}{host.netns:12}{host.leader or '-'}")


def main(words: Sequence[str]) -> int:
    arguments = parser().parse_args(words)
    lab = Lab(arguments.lab)
    match arguments.command:
        case "up":
            lab.up(arguments.count, arguments.suite, arguments.bare)
        case "exec":
            return execute(lab.name, arguments.words)
        case "shell":
            return shell(lab.host(arguments.host))
        case "outside":
            net = lab.network()
            if net is None:
                raise LabError(f"lab {lab.name} is not up")
            os.execvp("ip", ["ip", "netns", "exec", net.bridge_namespace, *words_of(arguments)])
        case "status":
            show_status(lab, arguments.output)
        case "reboot":
            lab.reboot(lab.host(arguments.host))
        case "kill":
            lab.kill(lab.host(arguments.host))
        case "images":
            lab.load(arguments.names)
        case _:
            if arguments.host:
                lab.remove(lab.host(arguments.host))
            else:
                lab.down()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LabError as error:
        print(f"scripts/lab: {error}", file=sys.stderr)
        sys.exit(GONE)
    except KeyboardInterrupt:
        sys.exit(130)
