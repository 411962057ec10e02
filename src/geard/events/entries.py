"""The entries of the journal that events are made of: which they are, and how geard writes its own."""

from __future__ import annotations

from geard.host.fields import ASKER, EVENT, GEAR, REASON, REPOSITORY, REQUEST_ID
from geard.host.journal import Journal
from geard.host.journal_reader import Messages
from geard.host.journal_writing import IDENTIFIER

# Of systemd's catalog (sd-messages.h; `journalctl --catalog --dump-catalog=…` explains each).
STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"
STARTED = "39f53479d3a045ac8e11786248231fbf"
NOT_STARTED = "be02cf6855d2428ba40df7e9d022f03d"
STOPPING = "de5b426a63be47a7b6ac3eaac82e2f6f"
STOPPED = "9d1aaa27d60140bd96365438aad20286"
ENDED_WELL = "7ad2d189f7e94e70a38c781354912448"
FAILED = "d9b373ed55a64feb8242e02dbe79a49c"
PROCESS_ENDED = "98e322203f7a4ed290d09fe03c09fe15"
RESTARTING = "5eb03494b6584870a536b337290809b3"

OURS = "57c8d5b1ac4d4d1c8e4b7a6f0f3f9d21"
"""what geard, and its hooks, say of a gear or an image; GEARD_EVENT has the kind"""

HEALTH = ("PODMAN_EVENT", "health_status")
"""what podman writes of each check that it makes by an image's HEALTHCHECK, however it ends"""

MESSAGES = Messages(
    of_systemd=frozenset(
        (STARTING, STARTED, NOT_STARTED, STOPPING, STOPPED, ENDED_WELL, FAILED, PROCESS_ENDED, RESTARTING)
    ),
    of_root=frozenset((OURS,)),
    marks=frozenset((HEALTH,)),
    fields=(
        "MESSAGE_ID", "UNIT", "JOB_TYPE", "JOB_RESULT", "UNIT_RESULT", "EXIT_CODE", "EXIT_STATUS", "COMMAND",
        "N_RESTARTS", "_HOSTNAME", "_SYSTEMD_UNIT",
        EVENT, GEAR, REPOSITORY, REQUEST_ID, ASKER, REASON,
        "GEARD_TEXT", "GEARD_VERSION", "GEARD_IMAGE", "GEARD_JOB",
        "GEARD_EXIT_CODE", "GEARD_EXIT_STATUS", "GEARD_OOM",
        "PODMAN_EVENT", "PODMAN_NAME", "PODMAN_HEALTH_STATUS", "PODMAN_HEALTH_FAILING_STREAK",
    ),
)  # fmt: skip

ASKED = "asked"
"""kind of an entry that is no event: systemd is about to be asked for a start or a stop, by this request"""
KEEP_READY = "keep-ready"
"""… whose job this is: the container of an idle gear is made, and no more, until it is woken or told to start"""
WOKEN = "woken"
ENDED = "ended"
"""… of one that gear-record writes: how a run ended, which only it sees"""


def note(
    journal: Journal,
    kind: str,
    message: str = "",
    *,
    gear: str = "",
    repository: str = "",
    request: str = "",
    by: str = "",
    version: str = "",
    image: str = "",
    job: str = "",
) -> None:
    """Write down what has just become true of a gear, or of a repository."""
    fields = {
        "MESSAGE": f"{gear or repository} {kind}" + (f": {message}" if message else ""),
        "MESSAGE_ID": OURS,
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        EVENT: kind,
        GEAR: gear,
        REPOSITORY: repository,
        "GEARD_TEXT": message,
        REQUEST_ID: request,
        ASKER: by,
        "GEARD_VERSION": version,
        "GEARD_IMAGE": image,
        "GEARD_JOB": job,
    }
    journal.tell({name: value for name, value in fields.items() if value})
