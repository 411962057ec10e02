"""The door through which a room takes part in every gear: `facet.py`, with one object named `facet`.

Links, health, environment, ports are each part of what a gear is. `containers` writes definitions and asks the
facets, and knows none by name. A facet's words (a `Part`: its key in the install body and in the definition)
stand in its room's `requests.py`; its terminal options in `commands.py` as `install_options`.

All methods are called in a thread, the gear's lock held where they change something. Each may be called again
after a crash and then ends in the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from geard.host import Host
from geard.host.engine import Image, RunSpec
from geard.host.storage import Changes
from geard.request import Asker
from geard.words import Part

P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class Gear:
    """What a facet may know of the gear it takes part in."""

    id: str
    unit: Path
    """its unit file below `units/`: what reservations point to"""
    state: Path
    """the folder below /run in which the start hooks lay things out for it"""


class Facet(Generic[P]):
    part: ClassVar[type[Part] | None] = None
    """None for a room that adds no words of its own"""

    def check(self, host: Host, asked: P, asker: Asker) -> None:
        """Raise Invalid or Denied for words that cannot be; nothing has been touched yet."""

    async def fetch(self, host: Host, asked: P) -> P:
        """`asked` with what it only points to (a URL) brought in, and what the machine's settings say beside it;
        before any lock is taken.
        """
        return asked

    def amend(self, asked: P, before: P | None) -> P:
        """What `asked` means for a gear that is there (`gear update`), where it does not replace all. Pure."""
        return asked

    def settle(self, host: Host, changes: Changes, gear: Gear, asked: P | None, before: P | None) -> P | None:
        """Claim on this host what was asked for; what the definition will record.

        `before` is what the definition in force records. Raises AlreadyExists and the like; what this call
        claimed it gives back first.
        """
        return asked

    def carry_out(self, host: Host, changes: Changes, gear: Gear, asked: P) -> None:
        """What was asked beside the definition (variables to set), once that is on disk: nothing refuses now."""

    def complete(self, host: Host, changes: Changes, gear: Gear, settled: P | None, image: Image) -> P | None:
        """The same, once the image is known: what it asks for by itself (EXPOSE) is claimed here."""
        return settled

    def in_force(self, host: Host, gear: Gear, first_uid: int | None) -> None:
        """A version is in force now. `first_uid` is the first of the host's ids that are this gear's alone; None
        where it shares the host's. Nothing that is waited for on disk: what a crash takes of it a boot puts back.
        """

    def run(self, gear: Gear, settled: P | None, spec: RunSpec) -> RunSpec:
        """`spec` with this facet's words added. Pure."""
        return spec

    def lines(self, gear: Gear, settled: P | None) -> Sequence[tuple[str, str]]:
        """NAME, VALUE pairs that the start hooks find in the definition file. Pure."""
        return ()

    def metadata(self, settled: P | None) -> Sequence[tuple[str, str]]:
        """`X-` lines for the unit file: what an admin with `cat` should see. Pure."""
        return ()

    def show(self, host: Host, gear: Gear, settled: P | None) -> Sequence[tuple[str, str]]:
        """Label and text for `gear status`."""
        return ()

    def files(self, host: Host, gear: Gear) -> Sequence[Path]:
        """Files that are part of what the gear is, for `gear cat`; nothing that is secret. They may be missing."""
        return ()

    def read_at_start(self, host: Host, gear: Gear, settled: P | None) -> Sequence[Path]:
        """Files that a start reads beside the definition, replaced whole where they change. They may be missing."""
        return ()

    def adapt(self, host: Host, gear: Gear, addresses: tuple[str, str], running: P | None, now: P | None) -> bool:
        """Have the gear that runs, started with `running`, take on `now` without a restart; False where it takes
        one. `addresses` are its IPv4 and IPv6 (or empty) on geard's bridge. Raises Unavailable.
        """
        return False

    def up_to_date(self, host: Host, gear: Gear, settled: P | None) -> bool:
        """Whether the running gear has what it would be started with now."""
        return True

    def tidy(self, host: Host, changes: Changes, gear: Gear, current: P | None, earlier: Sequence[P]) -> None:
        """Give back what only earlier versions used; nothing of theirs runs any more."""

    def forget(self, host: Host, changes: Changes, gear: Gear, gone: Sequence[P], kept: Sequence[P]) -> None:
        """Versions are forgotten: give back what only they record."""

    def repair(self, host: Host, changes: Changes, gear: Gear, recorded: Sequence[P]) -> None:
        """Give back what the gear holds beyond what its definitions record: an install was killed."""

    def remains(self, host: Host, gear: Gear) -> bool:
        """Whether something of a gear that is gone is kept here, for `delete --purge` to take away."""
        return False

    def release(self, host: Host, changes: Changes, gear: Gear, recorded: Sequence[P], *, purge: bool) -> None:
        """The gear is gone: give back everything. With `purge` also what may outlive it."""


AnyFacet = Facet[Any]
