"""The words of images."""

from __future__ import annotations

from geard.request import Answer, Nothing, Request, Route


class Pulled(Answer):
    image: str
    message: str = ""

    def text(self) -> str:
        return self.message


class PullImage(Request[Pulled]):
    """Bring the newest image of that name here. The pull goes on behind the answer."""

    route = Route("POST", "/images/pull", reach="shown")
    example = {"Image": "docker.io/library/nginx:1.29"}

    image: str
    engine: str = ""
    """the machine's default, where empty"""


class LogIn(Request[Nothing]):
    """Prove credentials to a registry and keep them for pulls."""

    route = Route("POST", "/registries/login", scope="admin", reach="machine")
    example = {"Registry": "registry.example:5000", "User": "alice", "Password": "open sesame"}

    registry: str
    user: str
    password: str
    engine: str = ""
