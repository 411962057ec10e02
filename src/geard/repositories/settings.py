"""Where repositories are hosted, and how large they may become."""

from __future__ import annotations

import re
from typing import ClassVar

from geard.containers.sizes import parse_size
from geard.failures import Invalid
from geard.host.fetch import check_networks
from geard.images.names import check_image
from geard.settings import Section

_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", re.ASCII)


class RepositorySettings(Section):
    key: ClassVar[str] = "repositories"
    image: str = "geard/githost"
    """what they are hosted in: any image with git and sh"""
    branch: str = "master"
    """what HEAD of a new one says, until a push says else"""
    push_limit: str = "1g"
    """of what one push brings; 0 for none"""
    limit: str = "10g"
    """of a repository; 0 for none"""
    allow: tuple[str, ...] = ()
    """networks beside the public ones that one may be cloned from: `10.0.0.0/8`"""

    def check(self) -> None:
        check_image(self.image)
        if not _BRANCH.fullmatch(self.branch):
            raise Invalid(f"{self.branch!r} is no plain name of a branch", hint='such as "main"')
        parse_size(self.push_limit)
        parse_size(self.limit)
        check_networks(self.allow)
