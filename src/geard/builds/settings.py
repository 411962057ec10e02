"""What a build may use on this machine, and how long what is known of it is kept."""

from __future__ import annotations

from typing import ClassVar

from geard.containers.sizes import parse_size
from geard.failures import Invalid
from geard.images.names import check_image
from geard.settings import Section


class BuildSettings(Section):
    key: ClassVar[str] = "builds"
    at_once: int = 2
    """so many at a time; others wait for their turn"""
    time_limit: int = 3_600
    """seconds that a build may take; 0 for as long as it likes"""
    memory: str = "2g"
    cpus: float = 0
    """0: as many as there are"""
    pids: int = 2_048
    source_limit: str = "2g"
    """of an archive or of what save-artifacts hands over"""
    output_limit: str = "16m"
    """of what a build prints is kept, its beginning and its end"""
    spare_disk: str = "1g"
    """a build is ended when less than this is left on the disk of images"""
    network: bool = True
    """whether builds reach the network where nothing else is asked"""
    git_image: str = "geard/githost"
    """what git runs in that fetches sources: any image with git and sh"""
    keep_days: int = 30
    """of a build that has ended, so long is kept what is known of it"""
    keep: int = 100
    """… and of so many at most"""

    def check(self) -> None:
        for name in ("memory", "source_limit", "output_limit", "spare_disk"):
            try:
                parse_size(getattr(self, name))
            except Invalid as error:
                raise Invalid(f"{name.replace('_', '-')}: {error.message}", hint=error.hint) from None
        check_image(self.git_image)
        for name in ("at_once", "pids", "keep"):
            if getattr(self, name) < 1:
                raise Invalid(f"{name.replace('_', '-')}: at least 1")
        if self.time_limit < 0 or self.keep_days < 0 or self.cpus < 0:
            raise Invalid("time-limit, keep-days and cpus cannot be below 0")
