"""What may be asked of a job: every check that comes before anything is touched."""

from __future__ import annotations

import math

from geard.containers import versions
from geard.containers.definition import Definition
from geard.containers.folders import Folders
from geard.containers.quoting import check_text
from geard.containers.requests import Wish
from geard.containers.settings import Allowances
from geard.containers.updating import wish_of
from geard.containers.wishes import check_path, check_rights, check_wish
from geard.environments.file import check_variables
from geard.failures import Denied, Invalid
from geard.host import Host
from geard.identifiers import check_id
from geard.jobs.requests import JobWish
from geard.request import Asker

LONGEST = 366 * 86_400.0


def check_job(wish: JobWish, asker: Asker, host: Host) -> None:
    """Raises Invalid for what cannot be, Denied for what this asker may not ask."""
    if wish.id:
        check_id(wish.id, "job")
    if bool(wish.image) == bool(wish.gear):
        raise Invalid("a job has an image, or the gear whose image it takes", hint="gear run IMAGE, or --in GEAR")
    if wish.volume_config.volumes:
        raise Invalid(
            f"a job keeps no volume such as {wish.volume_config.volumes[0].path}",
            hint="HOST_PATH:PATH shows it the host's; --in GEAR a gear's own; --artifacts hands files back",
        )
    if wish.gear:
        check_id(wish.gear)
        if wish.engine or wish.simple:
            raise Invalid(f"a job in {wish.gear} runs as {wish.gear} does", hint="leave out --engine and --simple")
    if wish.environment_id:
        check_id(wish.environment_id, "environment")
    check_wish(as_gear(wish), asker, host.settings.section(Allowances))
    check_variables(wish.environment)
    for text, what in ((wish.user, "the user"), (wish.working_dir, "the working folder")):
        check_text(text, what)
    if wish.working_dir:
        check_path(wish.working_dir, "inside the job")
    if not (0 < wish.rows < 65_536 and 0 < wish.columns < 65_536):
        raise Invalid(f"{wish.rows} rows and {wish.columns} columns are no terminal", hint="1 to 65535")
    limit = wish.time_limit
    if limit is not None and not (math.isfinite(limit) and 0 <= limit <= LONGEST):
        raise Invalid(f"a time limit of {limit} s", hint="seconds, a year at most; 0 for none")
    if wish.artifacts:
        check_path(wish.artifacts, "inside the job")
        taken = [mount.host_path for mount in wish.volume_config.volume_mounts]
        if wish.artifacts == "/" or wish.artifacts in taken:
            raise Invalid(f"{wish.artifacts} cannot be the folder that is handed back", hint="such as /out")


def as_gear(wish: JobWish) -> Wish:
    """What it has in common with a gear, to be checked alike."""
    return Wish(
        id=wish.id or "unnamed",
        image=wish.image or "unnamed/unnamed",
        engine=wish.engine,
        simple=wish.simple,
        command=wish.command,
        entrypoint=wish.entrypoint,
        volume_config=wish.volume_config,
        limits=wish.limits,
        stop_timeout=wish.stop_timeout,
    )


def definition_of(host: Host, wish: JobWish, asker: Asker) -> Definition | None:
    """The gear that it runs in. Who runs a program there has what the gear has of the host, so they must be
    allowed it. Raises NotFound, Denied, Invalid where its image is not here yet.
    """
    if not wish.gear:
        return None
    found = versions.require(Folders.of(host.paths, wish.gear))
    if not found.complete:
        raise Invalid(f"the image of {wish.gear} is not here yet", hint=f"gear start {wish.gear} brings it")
    if not asker.may("admin"):
        allowed = host.settings.section(Allowances)
        check_rights(wish_of(found), allowed)
        engine = host.engine_named(found.engine)
        if not (engine.maps_users or engine is host.engine or allowed.simple):
            raise Denied(f"{found.id} shares the host's users on {engine.name}: this takes the scope admin")
    return found
