"""The words of setting up a host."""

from __future__ import annotations

from typing import Literal

from geard.request import Answer, Request, Route
from geard.words import Word


class Finding(Word):
    what: str
    state: Literal["ok", "made", "missing", "advice"]
    detail: str = ""
    remedy: str = ""


class HostReport(Answer):
    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        return all(finding.state != "missing" for finding in self.findings)

    def text(self) -> str:
        lines: list[str] = []
        for finding in self.findings:
            lines.append(f"{finding.state:>8}  {finding.what}" + (f": {finding.detail}" if finding.detail else ""))
            if finding.remedy:
                lines.append(f"{'':>8}  -> {finding.remedy}")
        return "\n".join(lines)


class Version(Answer):
    version: str
    engine: str
    systemd: str

    def text(self) -> str:
        return f"gear {self.version}, {self.engine}, systemd {self.systemd}"


class GetVersion(Request[Version]):
    """Which geard does the work on a machine, and what it stands on."""

    route = Route("GET", "/version", scope="read")


class SetUpHost(Request[HostReport]):
    """Make this machine ready for gears; with `check`, only say what it lacks."""

    check: bool = False
