"""A plan and its outcome as people and programs read them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geard.deployments.execution import Outcome
from geard.deployments.plan import Plan, Planned


def describe_plan(plan: Plan) -> str:
    """For people: + added, ~ changed, > moved, - removed."""
    lines: list[str] = []
    for gear in plan.gears:
        if gear.added:
            mark = ">" if gear.moved_from else "+"
            where = f"{gear.moved_from} -> {gear.on}" if gear.moved_from else f"on {gear.on}"
            taken = "  taken over" if gear.adopted else ""
            lines.append(f"{mark} {gear.id} {where}  {gear.install.image}{_ports(gear)}{taken}")
        elif gear.changed or gear.relinked:
            lines.append(f"~ {gear.id} on {gear.on}" + ("" if gear.changed else "  only its links, while it runs"))
            lines += [f"    {line}" for line in (*gear.lines, *gear.relinked)]
    lines += [
        f"- {gone.id} on {gone.on}"
        + ("  its volumes stay behind" if gone.moved and _volumes(plan, gone.id) else "")
        for gone in plan.removed
    ]
    lines += [f"! {note}" for note in plan.notes]
    lines += [f"! {leaving.id} on {leaving.on} is to be removed once that answers" for leaving in plan.postponed]
    if plan.empty:
        lines.append(f"Nothing to change: {plan.name} is as described, {_gears(len(plan.gears))}{_on(plan)}")
    else:
        lines.append(f"{plan.name}: {summary(plan)}. Plan {plan.fingerprint}")
    return "\n".join(lines)


def summary(plan: Plan) -> str:
    moved = sum(bool(gear.moved_from) for gear in plan.gears)
    counts = {
        "to add": sum(gear.added for gear in plan.gears) - moved,
        "to move": moved,
        "to change": sum(gear.changed for gear in plan.gears),
        "to link anew": sum(bool(gear.relinked) and not gear.added and not gear.changed for gear in plan.gears),
        "to remove": sum(not gone.moved for gone in plan.removed),
    }
    same = sum(not (gear.added or gear.changed or gear.relinked) for gear in plan.gears)
    words = [f"{count} {what}" for what, count in counts.items() if count]
    return ", ".join(words + ([f"{same} as they are"] if same else [])) or "nothing to change"


def _ports(gear: Planned) -> str:
    shown: list[str] = []
    for port in gear.instance.ports:
        number = f"{port.internal}/udp" if port.protocol == "udp" else str(port.internal)
        seen = f" seen as {port.target.host}:{port.target.port}" if port.target is not None else ""
        shown.append(f"{number} -> {port.external or 'a free port'}{seen}")
    return f"  {', '.join(shown)}" if shown else ""


def _volumes(plan: Plan, id: str) -> bool:
    return any(gear.id == id and gear.install.volume_config.volumes for gear in plan.gears)


def _gears(count: int) -> str:
    return f"{count} gear{'' if count == 1 else 's'}"


def _on(plan: Plan) -> str:
    return f" on {', '.join(plan.hosts)}" if plan.hosts else ""


def plan_values(plan: Plan) -> dict[str, Any]:
    """For programs."""
    return {
        "Deployment": plan.name,
        "Plan": plan.fingerprint,
        "Hosts": list(plan.hosts),
        "Added": [_gear(gear) for gear in plan.gears if gear.added and not gear.moved_from],
        "Changed": [{**_gear(gear), "Lines": list(gear.lines)} for gear in plan.gears if gear.changed],
        "Relinked": [{**_gear(gear), "Lines": list(gear.relinked)} for gear in plan.gears
                     if gear.before is not None and gear.relinked],
        "Moved": [{**_gear(gear), "From": gear.moved_from} for gear in plan.gears if gear.moved_from],
        "Removed": [{"Id": gone.id, "On": gone.on} for gone in plan.removed if not gone.moved],
        "Unchanged": [gear.id for gear in plan.gears if not (gear.added or gear.changed or gear.relinked)],
        "Postponed": [{"Id": leaving.id, "On": leaving.on} for leaving in plan.postponed],
        "Notes": list(plan.notes),
    }  # fmt: skip


def _gear(gear: Planned) -> dict[str, Any]:
    ports = [
        {"Internal": p.internal, "External": p.external, "Protocol": p.protocol}
        | ({"Target": f"{p.target.host}:{p.target.port}"} if p.target is not None else {})
        for p in gear.instance.ports
    ]
    links = [{"From": link.place, "To": link.target} for link in gear.links]
    return {"Id": gear.id, "On": gear.on, "Image": gear.install.image, "Ports": ports, "Links": links}


def outcome_values(plan: Plan, outcome: Outcome, leftover: Sequence[str]) -> dict[str, Any]:
    return {
        "Deployment": plan.name,
        "Plan": plan.fingerprint,
        "Changed": bool(outcome.did),
        "Did": [{"Id": id, "On": on, "What": what} for (id, on), what in outcome.did.items()],
        "Failed": [
            {"Id": id.strip(), "On": on, "Kind": failure.kind, "Message": failure.message}
            for (id, on), failure in outcome.failures.items()
        ],
        "NotDone": [*outcome.left, *leftover],
        "TakenBack": outcome.undone,
        "Seconds": round(outcome.seconds, 3),
    }


def describe_outcome(plan: Plan, outcome: Outcome) -> str:
    """The last lines of a run."""
    counts: dict[str, int] = {}
    for what in outcome.did.values():
        counts[what] = counts.get(what, 0) + 1
    words = ", ".join(f"{count} {what}" for what, count in counts.items()) or "nothing was changed"
    lines = [f"{plan.name}: {words} in {outcome.seconds:.1f} s"]
    if outcome.failures:
        lines[0] = f"{plan.name} is not deployed: {words}, {len(outcome.failures)} failed"
    lines += [f"  not done: {line}" for line in outcome.left]
    lines += [f"  taken back: {line}" for line in outcome.undone]
    return "\n".join(lines)
