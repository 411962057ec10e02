"""The words of builds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from geard.environments.requests import Variable
from geard.exchange import Session
from geard.request import Answer, Nothing, Request, Route, Stream
from geard.words import Word

State = Literal["waiting", "running", "done", "failed", "cancelled"]


class StartedBuild(Answer):
    example = {"Id": "mybuild", "Tag": "mybuild-1", "Unit": "build-mybuild.service"}

    id: str
    tag: str
    unit: str

    def text(self) -> str:
        return f"Build {self.id} of {self.tag} is accepted"


class BuildImage(Request[StartedBuild]):
    """Build an image from source: by the scripts of the base image (source-to-image), or by a Containerfile.

    The answer comes at once; `GET /builds/{id}/log` has what it prints, `GET /builds/{id}` what came of it.
    """

    route = Route("POST", "/build-image", reach="machine")
    example = {
        "BaseImage": "pmorie/fedora-mock",
        "Source": "git://github.com/pmorie/simple-html",
        "Tag": "mybuild-1",
    }

    source: str
    """a git URL, `repo://NAME`, an archive's URL, `sent://ID`; a path of this host (scope *admin*)"""
    tag: str
    base_image: str = ""
    """may be left out where a Containerfile says it"""
    name: str = ""
    """the build's; one is made up where there is none"""
    ref: str = ""
    runtime_image: str = ""
    """what is built runs on this one"""
    artifacts: str = ""
    """what goes over to it: `/PATH:FOLDER;…`; else as the base image says"""
    scripts: str = ""
    """where scripts are: http, https, `image:///PATH`; `file:///PATH` (scope *admin*)"""
    strategy: Literal["", "source", "containerfile"] = ""
    environment: tuple[Variable, ...] = ()
    """of the build, and of the image"""
    clean: bool = False
    """take nothing over from the image of that tag"""
    remove_previous: bool = False
    """remove the image that had the tag before"""
    verbose: bool = False
    callback_url: str = ""
    network: bool | None = None
    """whether it reaches the network; None: as the settings say"""
    memory: str = ""
    cpus: float | None = None
    pids: int | None = None
    time_limit: int | None = None
    """seconds"""
    cache: tuple[str, ...] = ()
    """folders inside that are kept for the next build of the same source: `/root/.cache`"""
    start: str = ""
    """the gear that is to run it: updated where it is there, else installed; then started"""

    def names(self) -> Iterable[str]:
        return (self.start,) if self.start else ()

    def callback(self) -> str:
        return self.callback_url

    def told(self) -> str:
        return f"{self.tag} from {self.source.partition('?')[0]}" if "@" not in self.source else self.tag


class SendSource(Request[Session]):
    """A tar archive, compressed or not, for a build whose source is `sent://ID`; one within an hour takes it."""

    route = Route("PUT", "/build-source/{id}", reach="machine")
    example = {"Id": "4f1e0c33ad0b"}
    archive = True

    id: str
    """at the asker's choice, better one that nobody guesses"""


class ShowUsage(Request[StartedBuild]):
    """Run what a builder image has to say of itself: its usage script, or `assemble -h`. Nothing is made."""

    route = Route("POST", "/build-usage", reach="machine")
    example = {"BaseImage": "pmorie/fedora-mock"}

    base_image: str
    name: str = ""
    scripts: str = ""


class StepDone(Word):
    name: str
    began: str
    ended: str = ""
    message: str = ""


class Build(Answer):
    """One build: what it is to make, where it stands, what came of it."""

    example = {
        "Id": "mybuild",
        "Tag": "mybuild-1",
        "Source": "git://github.com/pmorie/simple-html",
        "BaseImage": "pmorie/fedora-mock",
        "State": "done",
        "ActiveState": "inactive",
        "SubState": "dead",
        "Image": "e693bc05db47f1d6487849e0aab7f01c37f4256b836dbdd872e65275e67a4da0",
    }

    id: str
    tag: str
    source: str
    active_state: str = "inactive"
    """of its unit"""
    sub_state: str = "dead"
    base_image: str = ""
    runtime_image: str = ""
    state: State = "waiting"
    strategy: str = ""
    incremental: bool = False
    step: str = ""
    """the one it is at, or that failed"""
    reason: str = ""
    """why it failed"""
    asked: str = ""
    """RFC 3339, as all times"""
    began: str = ""
    ended: str = ""
    seconds: float = 0
    steps: tuple[StepDone, ...] = ()
    commit: str = ""
    """of the source, where it has one"""
    base_digest: str = ""
    image: str = ""
    """the id of what was made"""
    digest: str = ""
    start: str = ""
    asker: str = ""
    last_lines: tuple[str, ...] = ()
    """what it printed last, where it failed"""

    def text(self) -> str:
        facts = (
            ("Tag", self.tag),
            ("Source", self.source),
            ("Commit", self.commit),
            ("Base", " ".join(filter(None, (self.base_image, self.base_digest)))),
            ("Runs on", self.runtime_image),
            ("Strategy", self.strategy + (", incremental" if self.incremental else "")),
            ("State", self.state + (f" at {self.step}" if self.step and self.state != "done" else "")),
            ("Why", self.reason),
            ("Began", self.began),
            ("Ended", f"{self.ended}, after {self.seconds:.1f} s" if self.ended else ""),
            ("Image", self.image),
            ("Digest", self.digest),
            ("Gear", self.start),
        )
        lines = [f"Build {self.id}", *(f"{name:>9}: {value}" for name, value in facts if value)]
        lines += [f"{'':>9}  {each.name}{': ' if each.message else ''}{each.message}" for each in self.steps]
        return "\n".join([*lines, *(["", *self.last_lines] if self.last_lines else [])])


class BuildList(Answer):
    example = {"Builds": [Build.example]}

    builds: tuple[Build, ...]

    def text(self) -> str:
        return "\n".join(f"{each.id} {each.state} {each.tag} {each.source}" for each in self.builds)


class ListBuilds(Request[BuildList]):
    """The builds of a machine, those that have ended too, the newest first."""

    route = Route("GET", "/builds", scope="read", text=False, reach="machine")

    tag: str = ""
    """only those of that tag"""


class GetBuild(Request[Build]):
    """Where a build stands, or what came of it."""

    route = Route("GET", "/builds/{id}", scope="read", text=False, reach="machine")

    id: str


class BuildLine(Answer):
    """What a build printed at once: a line, or several."""

    example = {"Time": "2026-11-28T14:26:34.512093Z", "Message": "STEP 1/3: FROM geard/python", "Cursor": "1024"}

    time: str
    message: str
    cursor: str = ""
    """what `after` takes"""
    skipped: int = 0
    """so many bytes before it are not kept"""

    def text(self) -> str:
        return self.message


class FollowBuild(Request[Stream[BuildLine]]):
    """What a build prints: all that is there, then what comes, until it has ended."""

    route = Route("GET", "/builds/{id}/log", scope="read", reach="machine")

    id: str
    follow: bool = True
    after: str = ""
    """the cursor of a line: only what came after it"""


class CancelledBuild(Answer):
    id: str
    was: State

    def text(self) -> str:
        over = self.was in ("done", "failed", "cancelled")
        return f"Build {self.id} had ended: {self.was}" if over else f"Build {self.id} is cancelled"


class CancelBuild(Request[CancelledBuild]):
    """End a build: all of its programs, and nothing else."""

    route = Route("PUT", "/builds/{id}/cancelled", reach="machine")

    id: str


class RemovedBuild(Answer):
    id: str
    removed: bool

    def text(self) -> str:
        return f"Removed build {self.id}" if self.removed else f"Build {self.id} was not there"


class RemoveBuild(Request[RemovedBuild]):
    """Forget a build that has ended, and what it printed; the image stays."""

    route = Route("DELETE", "/builds/{id}", reach="machine")

    id: str


class OnPush(Answer):
    """What is built of pushes to a repository of this machine."""

    id: str
    tag: str
    base_image: str = ""
    ref: str = ""
    start: str = ""
    built: str = ""
    """the commit that was built last, or tried"""

    def text(self) -> str:
        then = f", and run by {self.start}" if self.start else ""
        return f"What is pushed to {self.id} is built as {self.tag}{then}"


class BuildOnPush(Request[OnPush]):
    """Build what is pushed to a repository of this machine, what it has now too, and have a gear run it."""

    route = Route("PUT", "/repository/{id}/build", reach="machine")
    example = {"Id": "shop", "BaseImage": "acme/python", "Tag": "shop", "Start": "shop"}

    id: str
    tag: str
    base_image: str = ""
    ref: str = ""
    """the branch; else the one that a clone checks out"""
    start: str = ""
    clean: bool = False
    network: bool | None = None
    environment: tuple[Variable, ...] = ()

    def names(self) -> Iterable[str]:
        return (self.id, *((self.start,) if self.start else ()))


class BuildsOnPush(Answer):
    repositories: tuple[OnPush, ...]


class ListOnPush(Request[BuildsOnPush]):
    """The repositories whose pushes are built."""

    route = Route("GET", "/repositories/builds", scope="read", text=False, reach="machine")


class ForgotOnPush(Answer):
    id: str
    removed: bool

    def text(self) -> str:
        return f"What is pushed to {self.id} is built no more" if self.removed else f"{self.id} was not built"


class ForgetOnPush(Request[ForgotOnPush]):
    """Build no more what is pushed to a repository; what was built stays."""

    route = Route("DELETE", "/repository/{id}/build", reach="machine")

    id: str


class AwaitBuild(Request[Nothing], omit_defaults=True):
    """What is left to do behind the answer to a build: begin it where nobody has, and tell what comes of it."""

    id: str


class BuildPushed(Request[Nothing]):
    """Build what was pushed to repositories of which that was asked: asked on this machine, after each push."""


class CarryOutBuild(Request[Nothing]):
    """Do a build: asked by its unit, on this machine."""

    id: str


class ConcludeBuild(Request[Nothing]):
    """Put away what a build left behind: asked by its unit when it ends, however it does."""

    id: str
