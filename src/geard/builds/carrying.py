"""A build, carried out: the main process of its unit, from its turn to the gear that is to run what it made.

What it holds (containers, its slot, its folder of work) is put away by `conclude`, which the unit runs when this
has ended, however it has; so nothing here has to be undone by hand.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

from geard.builds import fetching, records
from geard.builds.by_containerfile import build_by_containerfile
from geard.builds.by_scripts import ByScripts
from geard.builds.running import Engine
from geard.builds.scripts import find_strategy
from geard.builds.sources import parse_source
from geard.builds.turns import hold_one, tag_lock, turn_locks
from geard.builds.workplace import StepFailed, Workplace, full_tag
from geard.containers.sizes import parse_size, show_size
from geard.failures import Failure, NotFound, TimedOut, Unavailable
from geard.host import Host
from geard.host.process import run as run_program

LOOK_SECONDS = 0.5


async def carry_out(host: Host, id: str) -> None:
    """Raises what it failed with."""
    failure = await Carrying(Workplace(host, id)).run()
    if failure is not None:
        raise failure


class Carrying:
    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._host = place.host
        self._wish = place.wish
        self._ended_by: Failure | None = None

    async def run(self) -> Failure | None:
        """What it failed with, if it did; written down either way."""
        place = self._place
        failure: Failure | None = None
        try:
            try:
                await self._run_within_limits()
            except Failure as error:
                failure = self._ended_by or error
            except OSError as error:
                failure = Unavailable(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))
            place.end_step()
            build, ended = place.build, records.now()
            facts = {"ended": ended, "seconds": records.seconds_between(build.began or ended, ended)}
            if failure is None:
                place.note(state="done", step="", **facts)
                place.say(f"---> done: {self._wish.tag} is {build.image}" if build.image else "---> done")
            else:
                state = "cancelled" if place.folders.cancelled.exists() else "failed"
                lines = place.last_lines()
                place.say(f"---> {state} at {build.step or 'the beginning'}: {failure.message}")
                place.note(state=state, reason=failure.message, last_lines=lines, **facts)
        finally:
            place.close()
        return failure

    async def _run_within_limits(self) -> None:
        place = self._place
        settings = place.settings
        limit = settings.time_limit if self._wish.time_limit is None else self._wish.time_limit
        base = records.base(self._host.paths)
        waits = lambda: place.say("waiting for another build of this tag")  # noqa: E731
        await hold_one([tag_lock(base, full_tag(self._wish.tag))], waits)
        waits = lambda: place.say(f"waiting: {settings.at_once} builds at a time")  # noqa: E731
        await hold_one(turn_locks(base, settings.at_once), waits)
        place.note(state="running", began=records.now())
        main = asyncio.create_task(self._steps())
        watch = asyncio.create_task(self._watch(main))
        try:
            async with asyncio.timeout(limit or None):
                await asyncio.shield(main)
        except TimeoutError:
            self._ended_by = TimedOut(f"it took longer than {limit} s, which is its time limit")
            main.cancel()
        except asyncio.CancelledError:
            if not main.cancelled():
                raise
        finally:
            watch.cancel()
            if not main.done():
                await self._host.systemd.stop(records.slice_name(place.folders.id), wait=30)
            await asyncio.gather(main, watch, return_exceptions=True)
        if self._ended_by is not None:
            raise self._ended_by

    async def _watch(self, main: asyncio.Task[None]) -> None:
        """End it where the disk of images gets full: other things here need that too."""
        spare = parse_size(self._place.settings.spare_disk)
        while spare:
            free = os.statvfs(self._host.paths.base)
            if free.f_bavail * free.f_frsize < spare:
                self._ended_by = Unavailable(
                    f"less than {show_size(spare)} is left on the disk of images",
                    hint="spare-disk under [builds] in /etc/geard/geard.toml says how much is to stay free",
                )
                main.cancel()
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _steps(self) -> None:
        place, wish = self._place, self._wish
        place.folders.work.mkdir(mode=0o700)
        await place.reserve()
        engine = place.engine()
        if place.order.usage:
            await ByScripts(place, engine).show_usage()
            return
        place.begin("fetch", place.build.source)
        fetched = await self._fetch()
        place.note(commit=fetched.commit)
        strategy = find_strategy(os.listdir(fetched.folder), wish.strategy)
        place.note(strategy=strategy)
        place.begin("images", " ".join(filter(None, (wish.base_image, wish.runtime_image))) or "as the file says")
        if strategy == "containerfile":
            await build_by_containerfile(place, engine, fetched)
        else:
            await ByScripts(place, engine).build(fetched)
        if wish.start:
            place.begin("start", wish.start)
            await self._start_gear()

    async def _fetch(self) -> fetching.Fetched:
        place, work = self._place, self._place.folders.work
        source = parse_source(self._wish.source, self._wish.ref)
        to = work / "src"
        to.mkdir(mode=0o755)
        limit = parse_size(place.settings.source_limit)
        if source.kind == "local":
            return await asyncio.to_thread(fetching.copy_local, source, to, limit)
        if source.kind == "sent":
            return await asyncio.to_thread(fetching.unpack_sent, source, place.folders.source, to, limit)
        if source.kind == "archive":
            return await fetching.download(source, work, to, limit, place.allow)
        if source.kind == "hosted":
            there = self._host.paths.base / "git" / source.at
            if not there.is_dir():
                raise NotFound(f"there is no repository {source.at} here")
            source = replace(source, kind="git", at=str(there))
        engine = place.engine(network=not source.at.startswith("/"))
        image = await self._git_image(engine)
        return await fetching.clone(engine, f"{place.name}-git", image, source, work, to)

    async def _git_image(self, engine: Engine) -> str:
        """An image with git: the one that the settings name, where it is here; else the base, if it has git."""
        place, base = self._place, self._wish.base_image
        named = place.settings.git_image
        if base and await self._host.engine_named("podman").image(named) is None:
            id, _, _ = await place.bring(engine, base)
            for folder in ("/usr/bin", "/bin", "/usr/local/bin"):
                if await engine.has_files(id, folder, ["git"]):
                    return id
        return (await place.bring(engine, named))[0]

    async def _start_gear(self) -> None:
        """As `gear update` and `gear install` do it."""
        place, gear = self._place, self._wish.start
        known = await run_program(["/usr/bin/gear", "status", gear], check=False)
        verb = (
            ["install", full_tag(self._wish.tag), gear, "--start"]  # never the bare name: it may be the gear's too
            if known.status
            else ["update", gear, "--image", place.build.image]  # its name may be the same as before
        )
        for words in (verb, ["start", gear]):  # an update leaves a gear stopped that was
            done = await run_program(["/usr/bin/gear", *words], check=False, timeout=600)
            for text in (done.output, done.errors):
                if text.strip():
                    place.say(text.rstrip())
            if done.status != 0:
                raise StepFailed(f"gear {words[0]} of {gear} ended with status {done.status}")
