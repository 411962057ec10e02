"""The words of looking a host over."""

from __future__ import annotations

from typing import Literal

from geard.request import Answer, Request, Route
from geard.words import Word

State = Literal["ok", "made", "advice", "missing", "broken"]


class Finding(Word):
    what: str
    state: State
    """`advice`: it works, and could be better; `missing`, `broken`: gears do not run, or not as they should"""
    detail: str = ""
    costs: str = ""
    """what goes wrong as long as it is so"""
    remedy: str = ""

    @property
    def bad(self) -> bool:
        return self.state in ("missing", "broken")

    def lines(self) -> list[str]:
        lines = [f"{self.state:>8}  {self.what}" + (f": {self.detail}" if self.detail else "")]
        lines += [f"{'':>8}     {self.costs}"] if self.costs else []
        lines += [f"{'':>8}  -> {self.remedy}"] if self.remedy else []
        return lines


class Diagnosis(Answer):
    example = {
        "Version": "0.3.0",
        "Findings": [
            {"What": "systemd", "State": "ok", "Detail": "257.8-1~deb13u2"},
            {
                "What": "disk quota",
                "State": "advice",
                "Detail": "/var/lib/containers is on ext4, without project quotas",
                "Costs": "a gear may fill the disk of all others",
                "Remedy": "tune2fs -O project,quota on the unmounted disk, then mount it with prjquota",
            },
        ],
    }

    version: str
    """of the geard that looked"""
    findings: tuple[Finding, ...]

    @property
    def well(self) -> bool:
        return not any(finding.bad for finding in self.findings)

    def text(self) -> str:
        """What is bad first, what is well in the end."""
        order = ("broken", "missing", "advice", "made", "ok")
        found = sorted(self.findings, key=lambda finding: order.index(finding.state))
        return "\n".join(line for finding in found for line in finding.lines())


class Diagnose(Request[Diagnosis]):
    """Look a machine over: what gears stand on, geard itself, and the gears. Changes nothing."""

    route = Route("GET", "/diagnosis", scope="read", reach="machine")


class Health(Answer):
    example = {"Status": "ok"}

    status: Literal["ok"] = "ok"

    def text(self) -> str:
        return self.status


class GetHealth(Request[Health]):
    """Whether the agent can work: systemd answers, the disk takes what is written, the engine is there.

    Else it is Unavailable (503), which says what is not; `Data` names each part.
    """

    route = Route("GET", "/healthz", scope="read", reach="shown")
