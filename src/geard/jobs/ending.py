"""The last step of a job's unit, however its main process ended: the container goes, its users and address are
given back, and where nobody wrote down how it ended that is done here. Standard library only.

systemd runs it with SERVICE_RESULT, EXIT_CODE and EXIT_STATUS (systemd.exec(5)).
"""

from __future__ import annotations

import json
import os
import shutil
import time

from geard.jobs.hooking import RUN, Facts, note, output, read_json, release_slot, run, write
from geard.jobs.usage import kill_beside, remove_empty, usage

WORDS = {
    "timeout": ("time limit", "it was still running long after its time limit"),
    "oom-kill": ("memory", "it was killed for using more memory than its limit"),
}


def main(id: str) -> int:
    state = f"{RUN}/{id}"
    order = read_json(f"{state}/order")
    if order is None:
        return 0
    path = f"{order['Folder']}/result"
    result = read_json(path)
    if result is None:
        result = _told_by_systemd(state)
        os.close(write(path, json.dumps(result)))
    image = output([*order["AskImage"], order["Container"]]).strip().removeprefix("sha256:")
    remove = [*order["Remove"], order["Container"]]
    failed = run(remove) and run(remove)  # where conmon was killed the first ends with 125, and the second does it
    slice = order.get("Slice", "")
    if failed and slice:
        kill_beside(slice, f"/job-{id}.service")
        failed = run(remove)
    if len(image) == 64:
        result["ImageId"] = image
    if usage_now := usage(slice):
        result |= {name: max(value, result.get(name, 0)) for name, value in usage_now.items()}
    os.close(write(path, json.dumps(result)))
    if os.path.exists(f"{state}/links"):
        _give_links_back(state)
    release_slot(order)
    note(
        order,
        "job-ended",
        _words(result),
        GEARD_EXIT_STATUS=str(result["Status"]),
        GEARD_REASON=str(result["Reason"]),
        GEARD_OOM="yes" if result["Reason"] == "memory" else "",
    )
    if slice:  # behind this unit, which is in it
        remove_empty(slice)
        run(["/usr/bin/systemctl", "--no-block", "stop", slice])
    if not failed:
        shutil.rmtree(state, ignore_errors=True)
    return 0


def _give_links_back(state: str) -> None:
    """Before its address is another's."""
    from geard.links.live import give_back  # noqa: PLC0415 - few have any
    from geard.links.starting import load  # noqa: PLC0415

    try:
        give_back(state, os.path.dirname(RUN), load)
    except OSError as error:
        print(f"what its links let it reach is not closed: {error}")


def _told_by_systemd(state: str) -> Facts:
    """The main process was killed, or could not be started."""
    service, status = os.environ.get("SERVICE_RESULT", ""), os.environ.get("EXIT_STATUS", "")
    reason, message = WORDS.get(service, ("cut", f"its unit's main process ended with {status or service}"))
    try:
        with open(f"{state}/phase", encoding="ascii") as file:
            phase, at = file.read().split()
    except (OSError, ValueError):
        phase, at = "", "0"
    return {
        "Status": int(status) if status.isdigit() and status != "0" else 125,
        "Reason": reason,
        "Message": message,
        "Started": float(at) if phase == "running" else 0.0,
        "Ended": time.time(),
    }


def _words(result: Facts) -> str:
    return result["Message"] or f"ended with {result['Status']}"
