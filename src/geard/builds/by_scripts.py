"""A build by scripts, as source-to-image has it: which are there, what each is run in, what its image becomes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from geard.builds import fetching
from geard.builds.archives import beneath, unpack
from geard.builds.labels import BASE, label_words, labels
from geard.builds.plan import Facts, Plan, make_plan
from geard.builds.running import Container, Engine
from geard.builds.scripts import (
    ARTIFACTS,
    ARTIFACTS_LABEL,
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
    parse_artifacts,
    parse_scripts_url,
)
from geard.builds.workplace import Workplace, full_tag
from geard.containers.sizes import parse_size, show_size
from geard.environments.file import check_variables, parse_lines
from geard.failures import Invalid, Unavailable
from geard.images.settings import RegistrySettings

_ORIGINS = {"asked": "as asked", "source": "of the source", "image": "of the image"}


class ByScripts:
    def __init__(self, place: Workplace, engine: Engine) -> None:
        self._place = place
        self._engine = engine
        self._wish = place.wish
        self._work = place.folders.work

    async def build(self, fetched: fetching.Fetched) -> None:
        place, wish, engine = self._place, self._wish, self._engine
        if not wish.base_image:
            raise Invalid(
                "a base image is needed: the source has no Containerfile", hint="gear build SOURCE BASE TAG"
            )
        base_id, base_digest, base = await place.bring(engine, wish.base_image)
        place.note(base_digest=base_digest or f"sha256:{base_id}")
        place.begin("scripts")
        found = await self._find(base_id, base, fetched.folder)
        assemble = check_assemble(found, wish.base_image, base.scripts_url)
        for script in found.values():
            place.say(f"{script.name}: {script.path} ({_ORIGINS[script.origin]})")
        before = await self._previous(wish.tag)
        builder_tag = f"{full_tag(wish.tag)}-builder" if wish.runtime_image else ""
        previous = await self._previous(builder_tag) if builder_tag else before
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
            place.say(f"nothing is taken over: {plan.why_clean}")
        environment = self._environment(fetched.folder)
        artifacts = self._work / "artifacts"
        artifacts.mkdir(mode=0o755)
        if plan.incremental:
            place.begin("save-artifacts", previous)
            await self._save_artifacts(previous, found["save-artifacts"], artifacts)
            place.note(incremental=True)
        place.begin("assemble", wish.base_image)
        container = self._container(base_id, assemble, fetched.folder, environment, plan)
        place.check_status("assemble", await engine.run(container))
        name, builder, saves = place.name, base, "save-artifacts" in found
        if wish.runtime_image:
            name, base, found = await self._onto_runtime(base, environment)
        place.begin("commit", wish.tag)
        said = label_words(labels(wish, place.build, place.host.settings.section(RegistrySettings).default))
        changes = [*_user_words(base), *said]
        run_script = found.get("run")
        if run_script is None:
            changes += [f"ENTRYPOINT {_json(base.entrypoint)}", f"CMD {_json(base.command)}"]
        else:
            command = run_script.path if run_script.inside else RUN
            changes += ["ENTRYPOINT []", f"CMD {_json((command,))}"]
            if not run_script.inside:
                await self._keep_run(name)
        id = await engine.commit(name, wish.tag, changes)
        await place.made(engine, id, before)
        if builder_tag and saves:
            # Of the image that runs nothing could be saved: what it was built in is kept for the next build.
            place.say(f"{builder_tag} is kept, for save-artifacts")
            id = await engine.commit(place.name, builder_tag, [*_user_words(builder), *said])
            await place.remove_previous(engine, previous, id)

    async def show_usage(self) -> None:
        """What a builder says of itself; nothing is made."""
        place, wish = self._place, self._wish
        place.begin("images", wish.base_image)
        id, _, config = await place.bring(self._engine, wish.base_image)
        place.begin("scripts")
        found = await self._find(id, config, None)
        script = found.get("usage") or check_assemble(found, wish.base_image, config.scripts_url)
        words = (script.path,) if script.name == "usage" else (script.path, "-h")
        container = Container(place.name, id, words, (), ((self._work / "scripts", SCRIPTS),))
        place.check_status(script.name, await self._engine.run(container))

    # --- which scripts

    async def _find(self, image_id: str, config: ImageConfig, folder: Path | None) -> dict[str, Script]:
        scripts, defaults, own = (self._work / name for name in ("scripts", "defaultScripts", "of-source"))
        for each in (scripts, defaults, own):
            each.mkdir(mode=0o755, exist_ok=True)
        of_source = fetching.scripts_of_source(folder, SOURCE_FOLDERS, own) if folder is not None else []
        places: list[tuple[Origin, list[str], str]] = []
        if self._wish.scripts:
            places.append(await self._at("asked", self._wish.scripts, image_id, scripts))
        places.append(("source", of_source, SCRIPTS))
        if config.scripts_url:
            places.append(await self._at("image", config.scripts_url, image_id, defaults))
        for folder_of in (own, defaults):
            for file in folder_of.iterdir():
                if not (scripts / file.name).exists():
                    shutil.copy(file, scripts / file.name)
        return choose(places)

    async def _at(self, origin: Origin, url: str, image: str, to: Path) -> tuple[Origin, list[str], str]:
        at = parse_scripts_url(url)
        if at.way == "image":
            return origin, await self._engine.has_files(image, at.at, NAMES), at.at
        return origin, await fetching.scripts_from(at, to, self._place.allow), SCRIPTS

    # --- assemble

    def _container(
        self, image: str, script: Script, folder: Path, environment: Mapping[str, str], plan: Plan
    ) -> Container:
        mounts = [(folder, SOURCE)]
        if plan.incremental:
            mounts.append((self._work / "artifacts", ARTIFACTS))
        mounts += self._place.caches()
        read_only = ((self._work / "scripts", SCRIPTS), (self._work / "defaultScripts", DEFAULT_SCRIPTS))
        return Container(self._place.name, image, (script.path,), tuple(mounts), read_only, environment)

    def _environment(self, folder: Path) -> dict[str, str]:
        """What the source says, and then what was asked. Raises Invalid."""
        found: dict[str, str] = {}
        for name in ENVIRONMENT_FILES:
            path = beneath(folder, name)
            if path is not None and path.is_file():
                found = parse_lines(path.read_text(errors="replace")[:65_536])
                break
        found |= self._place.environment_of_build()
        check_variables(found)
        for name, value in found.items():
            if "\n" in value:
                raise Invalid(f"{name} has several lines, which a build cannot be given")
        return found

    # --- save-artifacts

    async def _previous(self, tag: str) -> str:
        """The id of the image that has that tag now, if a build from the same base made it."""
        try:
            id, _, config = await self._engine.config(tag)
        except Unavailable:
            return ""
        return id if config.labels.get(BASE) == self._wish.base_image else ""

    async def _save_artifacts(self, image: str, script: Script, artifacts: Path) -> None:
        """By 2014's contract a script puts files into /tmp/artifacts, by today's it writes a tar to its output."""
        (artifacts / ".stub").touch()
        name, place = f"{self._place.name}-saved", self._place
        mounts, scripts = ((artifacts, ARTIFACTS),), ((self._work / "scripts", SCRIPTS),)
        with open(self._work / "saved", "w+b") as saved:  # noqa: ASYNC230 - a local file
            container = Container(name, image, (script.path,), mounts, scripts)
            status = await self._engine.run(container, stdout=saved.fileno())
            place.check_status("save-artifacts", status)
            saved.seek(0)
            head = saved.read(512)
            saved.seek(0)
            if head[257:262] == b"ustar" or head[:2] == b"\x1f\x8b":
                limit = parse_size(place.settings.source_limit)
                size = await asyncio.to_thread(unpack, saved, artifacts, limit=limit)
                place.say(f"{show_size(size)} of artifacts are taken over")
            elif head:
                place.heard(saved.read(65_536))
        (self._work / "saved").unlink()
        await self._engine.remove(name)  # else it would hold the image that --rm removes

    # --- on another image

    async def _onto_runtime(
        self, base: ImageConfig, environment: Mapping[str, str]
    ) -> tuple[str, ImageConfig, dict[str, Script]]:
        """What was assembled, on another image: that container's name, its image's words, its scripts."""
        wish, place, engine = self._wish, self._place, self._engine
        artifacts = parse_artifacts(wish.artifacts or base.labels.get(ARTIFACTS_LABEL, ""))
        if not artifacts:
            raise Invalid(
                "it is not said what goes to the runtime image",
                hint=f"--runtime-artifact /PATH[:FOLDER], or the base image's label {ARTIFACTS_LABEL}",
            )
        id, _, runtime = await place.bring(engine, wish.runtime_image)
        place.begin("assemble-runtime", wish.runtime_image)
        scripts = self._work / "scripts"
        fetched = [each for each in NAMES if (scripts / each).exists()]
        places: list[tuple[Origin, list[str], str]] = [("source", fetched, SCRIPTS)]
        if runtime.scripts_url.startswith("image://"):
            places.append(await self._at("image", runtime.scripts_url, id, scripts))
        found = choose(places)
        other = f"{place.name}-runtime"
        script = found.get("assemble-runtime")
        program = (script.path,) if script is not None else ("/nothing",)
        await engine.create(Container(other, id, program, (), ((scripts, SCRIPTS),), environment))
        await engine.carry_over(place.name, other, artifacts, runtime.folder)
        if script is not None:
            place.check_status("assemble-runtime", await engine.start(other))
        return other, runtime, found

    # --- run

    async def _keep_run(self, name: str) -> None:
        """The run script, where the image finds it when nothing is mounted."""
        tree = self._work / "kept"
        (tree / "opt/sti/bin").mkdir(parents=True, exist_ok=True)
        target = tree / "opt/sti/bin/run"
        target.write_bytes((self._work / "scripts/run").read_bytes())
        target.chmod(0o755)
        await self._engine.put(name, tree / ".", "/")


def _user_words(config: ImageConfig) -> list[str]:
    return [f"USER {config.user}"] if config.user else []


def _json(words: tuple[str, ...]) -> str:
    return msgspec.json.encode(words).decode()
