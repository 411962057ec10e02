"""Images, brought here, looked after, handed on."""

from __future__ import annotations

import re

from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.exchange import Line, Talk
from geard.failures import Invalid, NotFound, PreconditionFailed
from geard.host.attached import relay
from geard.host.engine import Engine, Image
from geard.host.paths import Paths
from geard.host.stores import Kept, digest_of
from geard.images import peers, pruning
from geard.images.names import check_image, complete_name
from geard.images.pulling import bring
from geard.images.requests import (
    DescribeTransfer,
    GoneImage,
    ImageList,
    ListedImage,
    ListImages,
    ListPulls,
    LoadImage,
    LogIn,
    NamedImage,
    PrunedImages,
    PruneImages,
    Pulled,
    PullImage,
    PullsUnderWay,
    RemoveImage,
    SaveImage,
    ShowImage,
    ShownImage,
    TagImage,
    TransferLine,
)
from geard.images.settings import RegistrySettings, permitted
from geard.images.underway import underway
from geard.request import Nothing

_REGISTRY = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?", re.ASCII)


@operation
async def pull_image(request: PullImage, work: Work) -> Pulled:
    settings = work.host.settings.section(RegistrySettings)
    name = complete_name(check_image(request.image), settings.default)
    permitted(settings, name)
    engine = work.host.engine_named(request.engine)

    async def pull() -> None:
        async with work.turn():
            ask = not request.registry_only
            found = await bring(work.host, engine, name, work.say, fresh=True, ask_peers=ask, request=work.id)
        work.conclude("done", f"{name} is {found.digest or found.id}")

    work.owe(PullImage(image=name, engine=engine.name, registry_only=request.registry_only), first=pull)
    return Pulled(image=name, message=f"Pulling {name}")


@operation
async def list_pulls(request: ListPulls, work: Work) -> PullsUnderWay:
    return PullsUnderWay(pulls=tuple(await work.on_disk(lambda: list(underway(work.host.paths)))))


@operation
async def list_images(request: ListImages, work: Work) -> ImageList:
    engine, reaches = work.host.engine_named(request.engine), work.asker.reaches
    images, uses = await pruning.look(work.host, engine)
    since = await work.on_disk(pruning.unused_since, work.host.paths, engine.name)
    found = [
        ListedImage(
            id=image.id,
            digest=image.digest,
            names=image.names,
            size=image.size,
            created=image.created,
            used_by=tuple(id for id in uses[image.id].gears if reaches(id)),
            kept_for=tuple(each for each in uses[image.id].versions if reaches(each.partition("@")[0])),
            containers=tuple(uses[image.id].containers) if not work.asker.only else (),
            unused_since="" if uses[image.id].any else since.get(image.id, ""),
        )
        for image in images
    ]
    return ImageList(engine=engine.name, images=tuple(sorted(found, key=lambda each: (each.names, each.id))))


@operation
async def show_image(request: ShowImage, work: Work) -> ShownImage:
    engine = work.host.engine_named(request.engine)
    kept = await work.on_disk(_kept, work.host.paths, engine, check_image(request.image))
    found = await work.on_disk(peers.origin, work.host.paths, kept.id)
    manifests = kept.manifests
    if found is not None:
        manifests = tuple(dict.fromkeys((*found.manifests, *manifests)))
    architecture, system = kept.platform
    return ShownImage(
        id=kept.id,
        names=kept.names,
        size=sum(layer.size for layer in kept.layers),
        architecture=architecture,
        os=system,
        manifest=digest_of(kept.manifest),
        manifests=manifests,
        digest=found.digest if found is not None else kept.digest,
    )


def _kept(paths: Paths, engine: Engine, name: str) -> Kept:
    """Raises NotFound, Unavailable."""
    id = name.removeprefix("sha256:")
    repository, _, digest = name.partition("@")
    if digest:
        id = engine.store.digests().get(digest) or peers.id_of(paths, digest)
    else:
        id = engine.store.names().get(repository, id)
    kept = engine.store.kept(id) if id else None
    if kept is None:
        raise NotFound(f"the image {name} is not here")
    return kept


@operation
async def prune_images(request: PruneImages, work: Work) -> PrunedImages:
    if request.days is not None and not 0 <= request.days <= 36_500:
        raise Invalid(f"{request.days} is no number of days", hint="0 to 36500")
    engine = work.host.engine_named(request.engine)
    return await pruning.prune(work.host, engine, days=request.days, dry_run=request.dry_run)


@operation
async def tag_image(request: TagImage, work: Work) -> NamedImage:
    engine = work.host.engine_named(request.engine)
    check_image(request.name)
    name = complete_name(request.name, work.host.settings.section(RegistrySettings).default)
    if "@" in name or ":" not in name.rpartition("/")[2]:
        raise Invalid(f"{request.name!r} is no name to be given", hint="[REGISTRY/]NAME[:TAG]")
    image = await _here(engine, request.image)
    await engine.tag(image.id, name)
    return NamedImage(id=image.id, name=name)


@operation
async def remove_image(request: RemoveImage, work: Work) -> GoneImage:
    engine = work.host.engine_named(request.engine)
    image = await engine.image(check_image(request.image))
    if image is None:
        return GoneImage(image=request.image, removed=False)
    by_id = request.image.removeprefix("sha256:") == image.id
    last = by_id or len(image.names) <= 1
    if last and not request.force:
        _, uses = await pruning.look(work.host, engine)
        if (found := uses.get(image.id)) is not None and (users := [*found.gears, *found.versions]):
            raise PreconditionFailed(
                f"cannot remove {request.image}: {', '.join(users[:5])}{' …' if len(users) > 5 else ''} needs it",
                hint="--force removes it all the same: it is pulled again when it is needed, if it can be",
            )
    await engine.remove_image(image.names or (image.id,) if by_id else (request.image,))
    return GoneImage(image=request.image, removed=True)


async def _here(engine: Engine, reference: str) -> Image:
    """Raises Invalid, NotFound."""
    found = await engine.image(check_image(reference))
    if found is None:
        raise NotFound(f"the image {reference} is not here", hint=f"gear pull {reference}")
    return found


@operation
async def save_image(request: SaveImage, work: Work) -> Talk:
    return _transfer(await _transfer_argv(request.image, request.engine, work), stdin=False)


@operation
async def load_image(request: LoadImage, work: Work) -> Talk:
    return _transfer(await _transfer_argv("", request.engine, work), stdin=True)


@operation
async def describe_transfer(request: DescribeTransfer, work: Work) -> TransferLine:
    return TransferLine(argv=tuple(await _transfer_argv(request.image, request.engine, work)))


async def _transfer_argv(image: str, engine: str, work: Work) -> list[str]:
    at = work.host.engine_named(engine)
    if not image:
        return at.load_argv()
    found = await _here(at, image)
    return at.save_argv(image if image.removeprefix("sha256:") != found.id else found.id)


def _transfer(argv: list[str], *, stdin: bool) -> Talk:
    async def talk(line: Line) -> int:
        return await relay(argv, line, environment={}, stdin=stdin, terminal=None)

    return talk


@operation
async def log_in(request: LogIn, work: Work) -> Nothing:
    if not _REGISTRY.fullmatch(request.registry):
        raise Invalid(f"{request.registry!r} is no registry", hint="a host name, with :PORT if need be")
    if not request.password:
        raise Invalid("an empty password", hint="with --password-stdin it is the first line of standard input")
    if not request.user or request.user.startswith("-") or "\n" in request.password:
        raise Invalid("a user and a password of one line are needed")
    insecure = request.registry in work.host.settings.section(RegistrySettings).insecure
    engine = work.host.engine_named(request.engine)
    await engine.login(request.registry, request.user, request.password, insecure=insecure)
    return Nothing()
