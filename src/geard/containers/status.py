"""A gear's status for people. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geard.containers.requests import ContainerStatus


def describe(status: ContainerStatus) -> str:
    """In the manner of `systemctl status`: state first, then what an admin asks next, the log last."""
    since = f" since {status.since}" if status.since else ""
    result = f" (Result: {status.result})" if status.active_state == "failed" else ""
    rows = [
        ("Loaded", status.loaded),
        ("Active", f"{status.active_state} ({status.sub_state}){since}{result}"),
        ("Boot", "started" if status.started else "stays idle" if status.idle else "stays stopped"),
    ]
    if status.pid:
        rows.append(("Main PID", str(status.pid)))
    if status.exit_status is not None:
        rows.append(("Last exit", f"status {status.exit_status}"))
    if status.restarts:
        rows.append(("Restarts", str(status.restarts)))
    rows.append(("Image", status.image))
    if status.digest:
        rows.append(("Digest", status.digest))
    version = f"running {status.running_version}, installed {status.installed_version}"
    same = not status.running_version or status.running_version == status.installed_version
    rows.append(("Version", status.installed_version if same else version))
    rows.append(("Engine", status.engine))
    rows += [(fact.label, fact.text) for fact in status.facts]
    width = max(len(label) for label, _ in rows)
    lines = [f"{_mark(status)} {status.unit} - Container {status.id}"]
    lines += [f"{label:>{width + 2}}: {text}" for label, text in rows]
    lines += [f"  ! {text}" for text in status.advice]
    if status.log:
        lines += ["", *status.log]
    return "\n".join(lines)


def _mark(status: ContainerStatus) -> str:
    return {"active": "●", "failed": "×", "activating": "◌", "deactivating": "◌", "reloading": "◌"}.get(
        status.active_state, "○"
    )
