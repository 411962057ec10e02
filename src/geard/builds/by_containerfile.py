"""A build by a Containerfile: `podman build`, of images that are here."""

from __future__ import annotations

import io

from geard.builds.archives import beneath
from geard.builds.fetching import Fetched
from geard.builds.labels import labels
from geard.builds.running import Engine
from geard.builds.scripts import CONTAINERFILES
from geard.builds.workplace import Workplace
from geard.failures import Invalid, NotFound, Unavailable
from geard.images.settings import RegistrySettings


async def build_by_containerfile(place: Workplace, engine: Engine, fetched: Fetched) -> None:
    wish = place.wish
    file = next(filter(None, (beneath(fetched.folder, name) for name in CONTAINERFILES)), None)
    if file is None or not file.is_file():
        raise NotFound("the source has no Containerfile that is a file inside it")
    if wish.runtime_image:
        raise Invalid("a runtime image goes with scripts", hint="a Containerfile has stages for that")
    base = wish.base_image
    for image in [base] if base else images_named(file.read_text(errors="replace")):
        base_id, digest, _ = await place.bring(engine, image)
        place.note(base_digest=digest or f"sha256:{base_id}")
    previous = await _tagged(place, engine)
    place.begin("build", file.name)
    status = await engine.build(
        fetched.folder,
        file,
        wish.tag,
        environment=place.environment_of_build(),
        labels=labels(wish, place.build, place.host.settings.section(RegistrySettings).default),
        base=base,
        caches=place.caches(),
    )
    place.check_status("the Containerfile's build", status)
    place.begin("commit", wish.tag)
    id, _, _ = await engine.config(wish.tag)
    await place.made(engine, id, previous)


async def _tagged(place: Workplace, engine: Engine) -> str:
    try:
        return (await engine.config(place.wish.tag))[0]
    except Unavailable:
        return ""


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
