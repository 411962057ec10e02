"""A build, carried out: the main process of its unit. Each step is written down before it is begun.

What it holds (containers, its slot, its folder of work) is put away by `conclude`, which the unit runs when this
has ended, however it has; so nothing here has to be undone by hand.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from geard.builds import fetching, records
from geard.builds.archives import beneath, unpack
from geard.builds.plan import Facts, Plan, Step, make_plan
from geard.builds.records import Folders, Order
from geard.builds.requests import Build, BuildImage, StepDone
from geard.builds.running import Bounds, Container, Engine, clear
from geard.builds.scripts import (
    ARTIFACTS,
    ARTIFACTS_LABEL,
    CONTAINERFILES,
    DEFAULT_SCRIPTS,
    ENVIRONMENT_FILES,
    NAMES,
    RUN,
    SCRIPTS,
    SOURCE,
    SOURCE_FOLDERS,
    ImageConfig,
    Origin,
    Script,
    check_assemble,
    choose,
    find_strategy,
    parse_artifacts,
    parse_scripts_url,
)
from geard.builds.settings import BuildSettings
from geard.builds.sources import parse_source
from geard.builds.turns import hold_one, tag_lock, turn_locks
from geard.containers import slots
from geard.containers.settings import ContainerSettings
from geard.containers.sizes import parse_size, show_size
from geard.environments.file import check_variables, parse_lines
from geard.environments.settings import FetchSettings
from geard.failures import Failure, Invalid, NotFound, TimedOut, Unavailable
from geard.host import Host
from geard.host.process import run as run_program
from geard.host.storage import Changes
from geard.images.names import complete_name
from geard.images.pulling import bring
from geard.images.settings import RegistrySettings
from geard.jobs.output import OUTPUT, Kept

LAST_LINES = 12
LOOK_SECONDS = 0.5
LABEL = "io.openshift.s2i.build"
OCI = "org.opencontainers.image"


class StepFailed(Failure):
    """A program of the build's ended with a status other than 0."""

    @property
    def kind(self) -> str:
        return "Failure"


class Carrying:
    def __init__(self, host: Host, id: str) -> None:
        self.host = host
        self.folders = Folders.of(host.paths, id)
        order = records.read_order(self.folders)
        if order is None:
            raise NotFound(f"there is no build {id} here")
        self.order: Order = order
        self.wish: BuildImage = order.wish
        self.build: Build = records.check_there(self.folders)
        self.settings = host.settings.section(BuildSettings)
        self._allow = host.settings.section(FetchSettings).allow
        self._kept = Kept(str(self.folders.base), parse_size(self.settings.output_limit))
        self._last: deque[bytes] = deque(maxlen=200)
        self._ended_by: Failure | None = None

    # --- what is told

    def say(self, text: str) -> None:
        self._kept.add(OUTPUT, f"{text}\n".encode(), time.time_ns() // 1_000)

    def _heard(self, data: bytes) -> None:
        self._kept.add(OUTPUT, data, time.time_ns() // 1_000)
        self._last.append(data[-4_096:])

    def _note(self, **changes: object) -> None:
        self.build = msgspec.structs.replace(self.build, **changes)
        records.write_build(self.folders, self.build)

    def _begin(self, step: Step, message: str = "") -> None:
        self._end_step()
        done = StepDone(name=step, began=records.now(), message=message)
        self._note(step=step, steps=(*self.build.steps, done))
        self.say(f"---> {step}{': ' if message else ''}{message}")

    def _end_step(self) -> None:
        if self.build.steps and not self.build.steps[-1].ended:
            last = msgspec.structs.replace(self.build.steps[-1], ended=records.now())
            self.build = msgspec.structs.replace(self.build, steps=(*self.build.steps[:-1], last))

    # --- the whole

    async def run(self) -> Failure | None:
        """What it failed with, if it did; written down either way."""
        failure: Failure | None = None
        try:
            try:
                await self._run_within_limits()
            except Failure as error:
                failure = self._ended_by or error
            except OSError as error:
                failure = Unavailable(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))
            self._end_step()
            ended = records.now()
            facts = {"ended": ended, "seconds": records.seconds_between(self.build.began or ended, ended)}
            if failure is None:
                self._note(state="done", step="", **facts)
                self.say(f"---> done: {self.wish.tag} is {self.build.image}" if self.build.image else "---> done")
            else:
                state = "cancelled" if self.folders.cancelled.exists() else "failed"
                lines = self.last_lines()
                self.say(f"---> {state} at {self.build.step or 'the beginning'}: {failure.message}")
                self._note(state=state, reason=failure.message, last_lines=lines, **facts)
        finally:
            self._kept.close()
        return failure

    def last_lines(self) -> tuple[str, ...]:
        text = b"".join(self._last).decode(errors="replace")
        return tuple(line[:500] for line in text.splitlines())[-LAST_LINES:]

    async def _run_within_limits(self) -> None:
        limit = self.settings.time_limit if self.wish.time_limit is None else self.wish.time_limit
        base = records.base(self.host.paths)
        waits = lambda: self.say("waiting for another build of this tag")  # noqa: E731
        await hold_one([tag_lock(base, _full(self.wish.tag))], waits)
        waits = lambda: self.say(f"waiting: {self.settings.at_once} builds at a time")  # noqa: E731
        await hold_one(turn_locks(base, self.settings.at_once), waits)
        self._note(state="running", began=records.now())
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
                await self.host.systemd.stop(records.slice_name(self.folders.id), wait=30)
            await asyncio.gather(main, watch, return_exceptions=True)
        if self._ended_by is not None:
            raise self._ended_by

    async def _watch(self, main: asyncio.Task[None]) -> None:
        """End it where the disk of images gets full: other things here need that too."""
        spare = parse_size(self.settings.spare_disk)
        while spare:
            free = os.statvfs(self.host.paths.base)
            if free.f_bavail * free.f_frsize < spare:
                self._ended_by = Unavailable(
                    f"less than {show_size(spare)} is left on the disk of images",
                    hint="spare-disk under [builds] in /etc/geard/geard.toml says how much is to stay free",
                )
                main.cancel()
                return
            await asyncio.sleep(LOOK_SECONDS)

    # --- the steps

    async def _steps(self) -> None:
        wish, work = self.wish, self.folders.work
        work.mkdir(mode=0o700)
        await self._reserve()
        engine = self._engine(network=self._network_wanted())
        name = records.container_name(self.folders.id)
        if self.order.usage:
            await self._usage(engine, name)
            return
        self._begin("fetch", self.build.source)
        fetched = await self._fetch(name)
        self._note(commit=fetched.commit)
        strategy = find_strategy(os.listdir(fetched.folder), wish.strategy)
        self._note(strategy=strategy)
        self._begin("images", " ".join(filter(None, (wish.base_image, wish.runtime_image))) or "as the file says")
        if strategy == "containerfile":
            await self._containerfile(engine, fetched)
        else:
            await self._scripts(engine, name, fetched)
        if wish.start:
            self._begin("start", wish.start)
            await self._start_gear()

    def _network_wanted(self) -> bool:
        return self.settings.network if self.wish.network is None else self.wish.network

    async def _reserve(self) -> None:
        """Users and an address of this build's own, and a slice within whose limits all of it runs."""
        paths, id = self.host.paths, self.folders.id
        with Changes() as changes:
            slot = slots.reserve(
                paths, changes, self.folders.base, self.host.settings.section(ContainerSettings).slots
            )
            changes.write(self.folders.slot, f"{slot}\n", 0o600)
        bounds = self._bounds = Bounds(
            slice=records.slice_name(id),
            slot=slot,
            network=slots.bridge(paths, "podman"),
            memory=parse_size(self.wish.memory or self.settings.memory),
            pids=self.wish.pids or self.settings.pids,
            cpus=self.settings.cpus if self.wish.cpus is None else self.wish.cpus,
        )
        properties: list[tuple[str, str, object]] = [
            ("Description", "s", f"What build {id} runs"),
            ("TasksMax", "t", bounds.pids),
        ]
        if bounds.memory:
            properties.append(("MemoryMax", "t", bounds.memory))
        if bounds.cpus:
            properties.append(("CPUQuotaPerSecUSec", "t", int(bounds.cpus * 1_000_000)))
        await self.host.systemd.start_transient(bounds.slice, properties)

    def _engine(self, *, network: bool) -> Engine:
        bounds = self._bounds if network else replace(self._bounds, network=None)
        return Engine(bounds, self.folders.work, self._heard)

    async def _fetch(self, name: str) -> fetching.Fetched:
        source = parse_source(self.wish.source, self.wish.ref)
        to = self.folders.work / "src"
        to.mkdir(mode=0o755)
        limit = parse_size(self.settings.source_limit)
        if source.kind == "local":
            return await asyncio.to_thread(fetching.copy_local, source, to, limit)
        if source.kind == "archive":
            return await fetching.download(source, self.folders.work, to, limit, self._allow)
        if source.kind == "hosted":
            there = self.host.paths.base / "git" / source.at
            if not there.is_dir():
                raise NotFound(f"there is no repository {source.at} here")
            source = replace(source, kind="git", at=str(there))
        engine = self._engine(network=not source.at.startswith("/"))
        image = await self._git_image(engine)
        return await fetching.clone(engine, f"{name}-git", image, source, self.folders.work, to)

    async def _git_image(self, engine: Engine) -> str:
        """An image with git: the one that the settings name, where it is here; else the base, if it has git."""
        named = self.settings.git_image
        podman = self.host.engine_named("podman")
        base = self.wish.base_image
        if await podman.image(named) is None and base:
            id, _, _ = await self._bring(engine, base)
            for folder in ("/usr/bin", "/bin", "/usr/local/bin"):
                if await engine.has_files(id, folder, ["git"]):
                    return id
        return (await self._bring(engine, named))[0]

    async def _bring(self, engine: Engine, image: str) -> tuple[str, str, ImageConfig]:
        await bring(
            self.host,
            self.host.engine_named("podman"),
            image,
            lambda _, text: self.say(text),
            request=self.order.request,
        )
        return await engine.config(image)

    # --- by scripts

    async def _scripts(self, engine: Engine, name: str, fetched: fetching.Fetched) -> None:
        wish, work = self.wish, self.folders.work
        if not wish.base_image:
            raise Invalid(
                "a base image is needed: the source has no Containerfile", hint="gear build SOURCE BASE TAG"
            )
        base_id, base_digest, base = await self._bring(engine, wish.base_image)
        self._note(base_digest=base_digest or f"sha256:{base_id}")
        self._begin("scripts")
        found = await self._find_scripts(engine, base_id, base, fetched.folder)
        assemble = check_assemble(found, wish.base_image, base.scripts_url)
        for script in found.values():
            self.say(f"{script.name}: {script.path} ({_ORIGINS[script.origin]})")
        previous = await self._previous(engine)
        plan = make_plan(
            Facts(
                strategy="source",
                scripts=found,
                previous=bool(previous),
                clean=wish.clean,
                runtime=bool(wish.runtime_image),
                start=bool(wish.start),
            )
        )
        if not plan.incremental:
            self.say(f"nothing is taken over: {plan.why_clean}")
        environment = self._environment(fetched.folder)
        artifacts = work / "artifacts"
        artifacts.mkdir(mode=0o755)
        if plan.incremental:
            self._begin("save-artifacts", previous)
            await self._save_artifacts(engine, f"{name}-saved", previous, found["save-artifacts"], artifacts)
            self._note(incremental=True)
        self._begin("assemble", wish.base_image)
        container = self._container(name, base_id, assemble, fetched.folder, environment, plan)
        status = await engine.run(container)
        if status != 0:
            raise StepFailed(_status_words("assemble", status))
        if wish.runtime_image:
            name, base, found = await self._onto_runtime(engine, name, base, environment)
        self._begin("commit", wish.tag)
        changes = [*_user_words(base), *self._labels_words(fetched)]
        run_script = found.get("run")
        if run_script is None:
            changes += [f"ENTRYPOINT {_json(base.entrypoint)}", f"CMD {_json(base.command)}"]
        else:
            command = run_script.path if run_script.inside else RUN
            changes += ["ENTRYPOINT []", f"CMD {_json((command,))}"]
            if not run_script.inside:
                await self._keep_run(engine, name)
        id = await engine.commit(name, wish.tag, changes)
        await self._made(engine, id, previous)

    async def _find_scripts(
        self, engine: Engine, image_id: str, config: ImageConfig, folder: Path | None
    ) -> dict[str, Script]:
        work = self.folders.work
        scripts, defaults, own = work / "scripts", work / "defaultScripts", work / "of-source"
        for each in (scripts, defaults, own):
            each.mkdir(mode=0o755, exist_ok=True)
        of_source = fetching.scripts_of_source(folder, SOURCE_FOLDERS, own) if folder is not None else []
        places: list[tuple[Origin, list[str], str]] = []
        if self.wish.scripts:
            places.append(await self._scripts_at(engine, "asked", self.wish.scripts, image_id, scripts))
        places.append(("source", of_source, SCRIPTS))
        if config.scripts_url:
            places.append(await self._scripts_at(engine, "image", config.scripts_url, image_id, defaults))
        for folder_of in (own, defaults):
            for file in folder_of.iterdir():
                if not (scripts / file.name).exists():
                    shutil.copy(file, scripts / file.name)
        return choose(places)

    async def _scripts_at(
        self, engine: Engine, origin: Origin, url: str, image: str, to: Path
    ) -> tuple[Origin, list[str], str]:
        place = parse_scripts_url(url)
        if place.way == "image":
            return origin, await engine.has_files(image, place.at, NAMES), place.at
        return origin, await fetching.scripts_from(place, to, self._allow), SCRIPTS

    def _container(
        self, name: str, image: str, script: Script, folder: Path, environment: Mapping[str, str], plan: Plan
    ) -> Container:
        work = self.folders.work
        mounts = [(folder, SOURCE)]
        if plan.incremental:
            mounts.append((work / "artifacts", ARTIFACTS))
        mounts += self._caches()
        read_only = ((work / "scripts", SCRIPTS), (work / "defaultScripts", DEFAULT_SCRIPTS))
        return Container(name, image, (script.path,), tuple(mounts), read_only, environment)

    def _caches(self) -> list[tuple[Path, str]]:
        base = records.base(self.host.paths) / ".caches"
        found: list[tuple[Path, str]] = []
        for target in self.wish.cache:
            folder = base / records.cache_name(self.wish.source, self.wish.tag, target)
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            found.append((folder, target))
        return found

    async def _previous(self, engine: Engine) -> str:
        """The id of the image that has the tag now, if a build from the same base made it."""
        try:
            id, _, config = await engine.config(self.wish.tag)
        except Unavailable:
            return ""
        return id if config.labels.get(f"{LABEL}.image") == self.wish.base_image else ""

    async def _save_artifacts(
        self, engine: Engine, name: str, image: str, script: Script, artifacts: Path
    ) -> None:
        """By 2014's contract a script puts files into /tmp/artifacts, by today's it writes a tar to its output."""
        (artifacts / ".stub").touch()
        work = self.folders.work
        container = Container(
            name, image, (script.path,), ((artifacts, ARTIFACTS),), ((work / "scripts", SCRIPTS),)
        )
        with open(work / "saved", "w+b") as saved:  # noqa: ASYNC230 - a local file
            status = await engine.run(container, stdout=saved.fileno())
            if status != 0:
                raise StepFailed(_status_words("save-artifacts", status))
            saved.seek(0)
            head = saved.read(512)
            saved.seek(0)
            if head[257:262] == b"ustar" or head[:2] == b"\x1f\x8b":
                size = await asyncio.to_thread(
                    unpack, saved, artifacts, limit=parse_size(self.settings.source_limit)
                )
                self.say(f"{show_size(size)} of artifacts are taken over")
            elif head:
                self._heard(saved.read(65_536))
        (work / "saved").unlink()
        await engine.remove(name)  # else it would hold the image that --rm removes

    async def _onto_runtime(
        self, engine: Engine, name: str, base: ImageConfig, environment: Mapping[str, str]
    ) -> tuple[str, ImageConfig, dict[str, Script]]:
        """What was assembled, on another image: that container's name, its image's words, its scripts."""
        wish, work = self.wish, self.folders.work
        artifacts = parse_artifacts(wish.artifacts or base.labels.get(ARTIFACTS_LABEL, ""))
        if not artifacts:
            raise Invalid(
                "it is not said what goes to the runtime image",
                hint=f"--runtime-artifact /PATH[:FOLDER], or the base image's label {ARTIFACTS_LABEL}",
            )
        id, _, runtime = await self._bring(engine, wish.runtime_image)
        self._begin("assemble-runtime", wish.runtime_image)
        fetched = [each for each in NAMES if (work / "scripts" / each).exists()]
        places: list[tuple[Origin, list[str], str]] = [("source", fetched, SCRIPTS)]
        if runtime.scripts_url.startswith("image://"):
            places.append(await self._scripts_at(engine, "image", runtime.scripts_url, id, work / "scripts"))
        found = choose(places)
        other = f"{name}-runtime"
        script = found.get("assemble-runtime")
        program = (script.path,) if script is not None else ("/nothing",)
        await engine.create(Container(other, id, program, (), ((work / "scripts", SCRIPTS),), environment))
        await engine.carry_over(name, other, artifacts, runtime.folder)
        if script is not None:
            status = await engine.start(other)
            if status != 0:
                raise StepFailed(_status_words("assemble-runtime", status))
        return other, runtime, found

    async def _keep_run(self, engine: Engine, name: str) -> None:
        """The run script, where the image finds it when nothing is mounted."""
        tree = self.folders.work / "kept"
        (tree / "opt/sti/bin").mkdir(parents=True, exist_ok=True)
        target = tree / "opt/sti/bin/run"
        target.write_bytes((self.folders.work / "scripts/run").read_bytes())
        target.chmod(0o755)
        await engine.put(name, tree / ".", "/")

    def _environment(self, folder: Path) -> dict[str, str]:
        """What the source says, and then what was asked. Raises Invalid."""
        found: dict[str, str] = {}
        for name in ENVIRONMENT_FILES:
            path = beneath(folder, name)
            if path is not None and path.is_file():
                found = parse_lines(path.read_text(errors="replace")[:65_536])
                break
        found |= {each.name: each.value for each in self.wish.environment}
        check_variables(found)
        for name, value in found.items():
            if "\n" in value:
                raise Invalid(f"{name} has several lines, which a build cannot be given")
        return found

    def _labels(self, fetched: fetching.Fetched) -> dict[str, str]:
        wish, build = self.wish, self.build
        source = parse_source(wish.source, wish.ref)
        found = {
            f"{LABEL}.image": wish.base_image,
            f"{LABEL}.source-location": str(source),
            f"{LABEL}.commit.id": fetched.commit,
            f"{LABEL}.commit.ref": source.ref,
            f"{OCI}.created": records.now(),
            f"{OCI}.source": source.at if source.kind == "git" else "",
            f"{OCI}.revision": fetched.commit,
            f"{OCI}.base.name": complete_name(
                wish.base_image, self.host.settings.section(RegistrySettings).default
            )
            if wish.base_image
            else "",
            f"{OCI}.base.digest": build.base_digest,
        }
        return {name: value for name, value in found.items() if value}

    def _labels_words(self, fetched: fetching.Fetched) -> list[str]:
        return [f"LABEL {name}={_quoted(value)}" for name, value in self._labels(fetched).items()]

    # --- by a Containerfile

    async def _containerfile(self, engine: Engine, fetched: fetching.Fetched) -> None:
        wish = self.wish
        file = next(filter(None, (beneath(fetched.folder, name) for name in CONTAINERFILES)), None)
        if file is None or not file.is_file():
            raise NotFound("the source has no Containerfile that is a file inside it")
        if wish.runtime_image:
            raise Invalid("a runtime image goes with scripts", hint="a Containerfile has stages for that")
        base = wish.base_image
        if base:
            base_id, digest, _ = await self._bring(engine, base)
            self._note(base_digest=digest or f"sha256:{base_id}")
        else:
            for image in images_named(file.read_text(errors="replace")):
                base_id, digest, _ = await self._bring(engine, image)
                self._note(base_digest=digest or f"sha256:{base_id}")
        previous = await self._tagged(engine)
        self._begin("build", file.name)
        status = await engine.build(
            fetched.folder,
            file,
            wish.tag,
            environment={each.name: each.value for each in wish.environment},
            labels=self._labels(fetched),
            base=base,
            caches=self._caches(),
        )
        if status != 0:
            raise StepFailed(_status_words("the Containerfile's build", status))
        self._begin("commit", wish.tag)
        id, _, _ = await engine.config(wish.tag)
        await self._made(engine, id, previous)

    async def _tagged(self, engine: Engine) -> str:
        try:
            return (await engine.config(self.wish.tag))[0]
        except Unavailable:
            return ""

    # --- what comes behind

    async def _made(self, engine: Engine, id: str, previous: str) -> None:
        _, digest, _ = await engine.config(id)
        self._note(image=id, digest=digest)
        if self.wish.remove_previous and previous and previous != id:
            try:
                await engine.remove_image(previous)
                self.say(f"removed the image before, {previous[:12]}")
            except Unavailable as failure:  # the image is made: that counts
                self.say(f"the image before is kept: {failure.message}")

    async def _start_gear(self) -> None:
        """As `gear update` and `gear install` do it."""
        known = await run_program(["/usr/bin/gear", "status", self.wish.start], check=False)
        verb = (
            ["install", self.wish.tag, self.wish.start, "--start"]
            if known.status
            else ["update", self.wish.start, "--image", self.build.image]  # its name may be the same as before
        )
        for words in (verb, ["start", self.wish.start]):  # an update leaves a gear stopped that was
            done = await run_program(["/usr/bin/gear", *words], check=False, timeout=600)
            for text in (done.output, done.errors):
                if text.strip():
                    self.say(text.rstrip())
            if done.status != 0:
                raise StepFailed(f"gear {words[0]} of {self.wish.start} ended with status {done.status}")

    async def _usage(self, engine: Engine, name: str) -> None:
        wish = self.wish
        self._begin("images", wish.base_image)
        id, _, config = await self._bring(engine, wish.base_image)
        self._begin("scripts")
        found = await self._find_scripts(engine, id, config, None)
        script = found.get("usage") or check_assemble(found, wish.base_image, config.scripts_url)
        words = (script.path,) if script.name == "usage" else (script.path, "-h")
        scripts = ((self.folders.work / "scripts", SCRIPTS),)
        status = await engine.run(Container(name, id, words, (), scripts))
        if status != 0:
            raise StepFailed(_status_words(script.name, status))


_ORIGINS = {"asked": "as asked", "source": "of the source", "image": "of the image"}


async def carry_out(host: Host, id: str) -> None:
    """Raises what it failed with."""
    failure = await Carrying(host, id).run()
    if failure is not None:
        raise failure


async def conclude(host: Host, id: str) -> None:
    """Put away what a build held, and write down how it ended where it could not. Done again, it is harmless."""
    folders = Folders.of(host.paths, id)
    slice = records.slice_name(id)
    await host.systemd.stop(slice, wait=30)
    await clear(id, records.container_name(id), slice)
    with Changes() as changes:
        changes.remove_tree(folders.work)
        slot = _slot(folders)
        if slot is not None:
            slots.release(host.paths, changes, slot, folders.base)
            changes.remove(folders.slot)
    build = records.read_build(folders)
    if build is not None and build.state not in records.ENDED:
        cancelled = folders.cancelled.exists()
        reason = "" if cancelled else "its program was killed"
        ended = records.now()
        last = tuple(msgspec.structs.replace(s, ended=s.ended or ended) for s in build.steps)
        records.write_build(
            folders,
            msgspec.structs.replace(
                build,
                state="cancelled" if cancelled else "failed",
                reason=reason,
                ended=ended,
                seconds=records.seconds_between(build.began or ended, ended),
                steps=last,
            ),
        )


def _slot(folders: Folders) -> int | None:
    try:
        return int(folders.slot.read_text())
    except (FileNotFoundError, ValueError):
        return slots.kept(folders.paths, folders.base)


def images_named(text: str) -> list[str]:
    """The images that a Containerfile builds on, as far as its FROM lines say them plainly. Pure."""
    stages: set[str] = set()
    found: list[str] = []
    for line in io.StringIO(text.replace("\\\n", " ")):
        words = [word for word in line.split() if not word.startswith("--")]
        if len(words) < 2 or words[0].upper() != "FROM":
            continue
        if words[1] not in stages and words[1] != "scratch" and "$" not in words[1] and words[1] not in found:
            found.append(words[1])
        if len(words) >= 4 and words[2].upper() == "AS":
            stages.add(words[3])
    return found


def _full(tag: str) -> str:
    return tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest"


def _status_words(what: str, status: int) -> str:
    known = {
        125: "the engine failed",
        126: "it cannot be executed",
        127: "there is no such program",
        137: "it was killed",
    }
    return f"{what} ended with status {status}" + (f": {known[status]}" if status in known else "")


def _user_words(config: ImageConfig) -> list[str]:
    return [f"USER {config.user}"] if config.user else []


def _json(words: tuple[str, ...]) -> str:
    return msgspec.json.encode(words).decode()


def _quoted(value: str) -> str:
    """A value as a Containerfile's LABEL takes it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
