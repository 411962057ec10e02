"""Images, brought here."""

from __future__ import annotations

import re

from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.failures import Invalid
from geard.images.names import check_image, complete_name
from geard.images.pulling import bring
from geard.images.requests import LogIn, Pulled, PullImage
from geard.images.settings import RegistrySettings, permitted
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
            found = await bring(work.host, engine, name, work.say, fresh=True, request=work.id)
        work.conclude("done", f"{name} is {found.digest or found.id}")

    work.owe(PullImage(image=name, engine=engine.name), first=pull)
    return Pulled(image=name, message=f"Pulling {name}")


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
