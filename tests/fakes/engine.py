"""An engine whose images are values. What it would be told on a command line is podman's own words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from geard.failures import Denied
from geard.host.engine import Image, IpProtocol, RunSpec, StoredImage
from geard.host.engine.podman import Podman
from geard.host.process import ProgramFailed
from geard.images.names import complete_name


def make_image(
    name: str,
    *,
    ports: tuple[tuple[int, IpProtocol], ...] = (),
    volumes: tuple[str, ...] = (),
    command: tuple[str, ...] = ("/bin/serve",),
    content: str = "",
) -> Image:
    digest = hashlib.sha256(f"{name} {content}".encode()).hexdigest()
    return Image(digest, f"sha256:{digest[::-1]}", (complete_name(name),), ports, volumes, "", command)


@dataclass
class FakeEngine(Podman):
    here: list[Image] = field(default_factory=list[Image])
    registry: dict[str, Image] = field(default_factory=dict[str, Image])
    """by full name: what a pull brings"""
    refuses: str = ""
    """what the registry says to every pull, where it does not hand out images"""
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """image id -> path -> content: what `image_files` copies"""
    networks: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    logins: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    containers: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """image id -> containers made of it"""
    created: str = "2026-01-01T00:00:00+00:00"

    def __post_init__(self) -> None:
        super().__init__()
        self._said: dict[str, Image] = {}

    def known(self, reference: str) -> Image | None:
        return self._said.get(reference)

    async def image(self, reference: str) -> Image | None:
        found = self._find(reference)
        self._said = {each: image for each, image in self._said.items() if image in self.here}
        if found is not None:
            self._said[reference] = found
        return found

    def _find(self, reference: str) -> Image | None:
        for image in self.here:
            if reference.removeprefix("sha256:") == image.id or reference in image.names:
                return image
        wanted = {f"localhost/{reference}", f"localhost/{reference}:latest"}
        if not reference.startswith("-"):
            wanted.add(complete_name(reference))
        return next((image for image in self.here if wanted & set(image.names)), None)

    def pull(self, name: str) -> str:
        """What the unit of a pull does; why it failed, or nothing."""
        if self.refuses:
            return self.refuses
        image = self.registry.get(name)
        if image is None:
            return f"Error: initializing source docker://{name}: manifest unknown"
        self.here = [each for each in self.here if name not in each.names] + [image]
        self._said.clear()
        return ""

    async def images(self) -> list[StoredImage]:
        return [StoredImage(each.id, each.digest, each.names, 2_200_000, self.created) for each in self.here]

    async def containers_of_images(self) -> dict[str, list[str]]:
        return self.containers

    async def tag(self, id: str, name: str) -> None:
        self.here = [
            replace(each, names=(*(n for n in each.names if n != name), *((name,) if each.id == id else ())))
            for each in self.here
        ]
        self._said.clear()

    async def remove_image(self, names: Sequence[str]) -> None:
        """As podman: a name is taken away, and with the last the image, unless a container is made of it."""
        for name in names:
            found = self._find(name)
            assert found is not None
            left = tuple(each for each in found.names if each not in (name, complete_name(name)))
            left = () if name == found.id else left
            if not left and found.id in self.containers:
                raise ProgramFailed(
                    ["podman", "rmi", name], 2, f"Error: image used by {self.containers[found.id][0]}"
                )
            self.here = [replace(each, names=left) if each is found else each for each in self.here]
            self.here = [each for each in self.here if each.names or each.id != found.id]
        self._said.clear()

    async def image_files(self, image: str, path: str, target: str) -> None:
        for name, content in self.files.get(image, {}).items():
            if Path(name).is_relative_to(path):
                file = Path(target) / Path(name).relative_to(path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content)

    async def note_limits(self, container: str, spec: RunSpec) -> None:
        """As podman, which has nothing to be told."""

    async def login(self, registry: str, user: str, password: str, *, insecure: bool = False) -> None:
        if password == "wrong":
            raise Denied(f"{registry} does not accept this user and password")
        self.logins[registry] = (user, password)

    async def make_network(self, name: str, bridge: str, ipv4: str, ipv6: str) -> None:
        self.networks.setdefault(name, (ipv4, ipv6))

    async def version(self) -> str:
        return "5.4.2"

    async def storage_driver(self) -> str:
        return "overlay"

    def is_installed(self) -> bool:
        return True
