"""What `gear plan`, `gear deploy` and `gear undeploy` do at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec

from geard.cli.asking import session, tell
from geard.cli.output import printable, structured
from geard.deployments import files
from geard.deployments.descriptor import Descriptor, schema
from geard.deployments.execution import Outcome, Run
from geard.deployments.files import Source
from geard.deployments.found import There, host_name
from geard.deployments.plan import Plan, plan_deployment
from geard.deployments.showing import describe_outcome, describe_plan, outcome_values, plan_values
from geard.deployments.survey import hosts_of, survey
from geard.failures import AlreadyExists, Conflict, Invalid, PreconditionFailed
from geard.identifiers import new_request_id

CHANGES = 2
"""exit status of a plan that would change something"""


def plan(file: str, hosts: Sequence[str], form: str, given: Mapping[str, Any]) -> int:
    """Show what would change; the exit status."""
    source = _loaded(file, given)
    found, _, _ = _made(source, hosts, given)
    if form in ("json", "yaml"):
        structured(plan_values(found), form)
    elif form == "name":
        names = [f"{gear.on}/{gear.id}" for gear in found.gears if gear.added or gear.changed or gear.relinked]
        click.echo("\n".join([*names, *(f"{gone.on}/{gone.id}" for gone in found.removed)]))
    else:
        _echo(describe_plan(found))
    return 0 if found.empty else CHANGES


def deploy(file: str, hosts: Sequence[str], form: str, given: Mapping[str, Any]) -> None:
    """Show it, ask, do it."""
    if given["only_schema"]:
        structured(schema(), "json")
        return
    if not file:
        raise Invalid("which descriptor?", hint="gear deploy FILE|URL HOST...")
    source = _loaded(file, given)
    found, there, where = _made(source, hosts, given)
    if given["if_match"] not in ("", found.fingerprint):
        raise PreconditionFailed(
            f"the plan is {found.fingerprint} by now, not {given['if_match']}",
            hint="file or hosts have changed since; gear plan shows what would be done now",
        )
    text = form == "text"
    if text:
        _echo(describe_plan(found))
    if found.empty:
        _written(source, found)
        if not text:
            _print(form, found, Outcome(), ())
        return
    if text and not given["yes"] and sys.stdin.isatty():
        click.confirm("Do it?", abort=True)
    id = session.request_id or source.descriptor.unfinished or new_request_id()
    run = Run(found, there, id, lambda d: files.save(source.state, d), at_once=given["at_once"], quiet=not text)
    outcome = run.carry_out()
    left: tuple[str, ...] = ()
    if outcome.failures and given["rollback_on_failure"]:
        run.roll_back(source.descriptor)
    elif not outcome.failures:
        left = _look_again(source, found, where)
    _print(form, found, outcome, left)
    for (name, on), failure in outcome.failures.items():
        tell(failure, f"{name.strip()} on {on}")
    if outcome.failures and not given["rollback_on_failure"]:
        click.echo("  the same command again goes on from here; gear plan shows what is left", err=True)
    if left:
        tell(Conflict(f"{found.name} is not as described: {'; '.join(left)}", hint="did somebody else change it?"))


def _loaded(file: str, given: Mapping[str, Any]) -> Source:
    return files.load(file, state=given["state"], seconds=given["timeout"], insecure=given["insecure"])


def _made(source: Source, hosts: Sequence[str], given: Mapping[str, Any]) -> tuple[Plan, There, tuple[str, ...]]:
    """The plan, what it is made from, and all hosts it is about. Only asks."""
    descriptor = source.descriptor
    named = tuple(map(host_name, hosts)) or hosts_of(descriptor) or (host_name(""),)
    where = tuple(dict.fromkeys((*named, *hosts_of(descriptor))))
    there, silent = survey(descriptor.name, where)
    for host, failure in silent.items():
        if given["on_unreachable"] == "stop":
            hint = "--on-unreachable skip goes on with the others"
            raise type(failure)(
                f"{host}: {failure.message}", hint=f"{failure.hint}; {hint}" if failure.hint else hint
            )
    gears = [f"{gear.id} on {host}" for host, found in there.hosts.items() for gear in found.gears]
    if gears and not source.known and not given["adopt"]:
        raise AlreadyExists(
            f"there are gears of a deployment {descriptor.name} already, {', '.join(gears[:3])}"
            f"{' …' if len(gears) > 3 else ''}, and no {source.state} that names them",
            hint="--adopt takes them over and writes that file; another Name in the descriptor keeps them apart",
        )
    plan = plan_deployment(descriptor, named, there, variables=source.variables, adopt=given["adopt"])
    return plan, there, where


def _written(source: Source, found: Plan) -> None:
    files.save(source.state, msgspec.structs.replace(found.descriptor, leaving=found.postponed, unfinished=""))


def _look_again(source: Source, found: Plan, where: Sequence[str]) -> tuple[str, ...]:
    """Whether it is as described now. A request that joined an earlier one may have told of what is gone since."""
    there, _ = survey(found.name, where)
    written = files.load(str(source.state), state=str(source.state)).descriptor
    then = plan_deployment(written, found.hosts, there, variables=source.variables)
    if then.empty:
        _written(source, then)
    words = [f"{g.id} on {g.on} is missing" for g in then.gears if g.added]
    there_but = [gear for gear in then.gears if gear.before is not None]
    words += [f"{g.id} on {g.on}: {line}" for g in there_but for line in (*g.lines, *g.relinked)]
    return (*words, *(f"{gone.id} on {gone.on} is still there" for gone in then.removed))


def _print(form: str, found: Plan, outcome: Outcome, left: Sequence[str]) -> None:
    if form == "text":
        _echo(describe_outcome(found, outcome))
    elif form == "name":
        click.echo("\n".join(f"{on}/{id}" for id, on in outcome.did))
    else:
        structured(outcome_values(found, outcome, left), form)


def _echo(text: str) -> None:
    click.echo("\n".join(map(printable, text.split("\n"))))


def undeploy(file: str, hosts: Sequence[str], form: str, given: Mapping[str, Any]) -> None:
    """The same, for none."""
    source = _loaded(file, given)
    where = tuple(dict.fromkeys((*map(host_name, hosts), *hosts_of(source.descriptor)))) or (host_name(""),)
    nothing = Source(_without_containers(source.descriptor), source.state, source.known, source.variables)
    found, there, _ = _made(nothing, where, given)
    text = form == "text"
    if found.empty and not found.postponed:
        files.remove(source.state)
        if text:
            click.echo(f"There is nothing of {found.name} on {', '.join(where)}")
        else:
            _print(form, found, Outcome(), ())
        return
    if text:
        _echo(describe_plan(found))
    if text and not given["yes"] and sys.stdin.isatty():
        click.confirm("Do it?", abort=True)
    run = Run(found, there, session.request_id or new_request_id(), lambda d: _kept(source, d), quiet=not text)
    outcome = run.carry_out()
    if not outcome.failures and not found.postponed:
        files.remove(source.state)
    _print(form, found, outcome, ())
    for (name, on), failure in outcome.failures.items():
        tell(failure, f"{name} on {on}")


def _without_containers(descriptor: Descriptor) -> Descriptor:
    return msgspec.structs.replace(descriptor, containers=(), id_prefix="")


def _kept(source: Source, now: Descriptor) -> None:
    """The file goes on telling what the containers were, until the last gear is gone."""
    files.save(source.state, msgspec.structs.replace(now, containers=source.descriptor.containers))


def placed(path: str) -> list[str]:
    """HOST/NAME of every instance that a file names, or its instances file. Raises Invalid."""
    source = files.load(path)
    found = [
        instance.id if host_name(instance.on) == host_name("") else f"{host_name(instance.on)}/{instance.id}"
        for instance in source.descriptor.instances
        if instance.on is not None
    ]
    if not found:
        raise Invalid(f"{path} names no gears that are anywhere", hint=f"gear deploy {path} HOST...")
    return found
