"""Which mirror and settings the machine's own apt uses: the base is made from there, none is named here."""

import re
from dataclasses import dataclass
from pathlib import Path

from lab.machine import LabError, run

NAMES_OF_RELEASES = {
    "stable",
    "oldstable",
    "testing",
    "sid",
    "unstable",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
}
KEPT_SETTINGS = (
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::http::",
    "Acquire::https::",
)


@dataclass(frozen=True)
class Source:
    """One `deb` entry of sources.list."""

    address: str
    suites: tuple[str, ...]
    components: tuple[str, ...]


def parse_one_line(text: str) -> list[Source]:
    """Read the format of sources.list: `deb [options] address suite component…`."""
    sources: list[Source] = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if match:
            address, suite, components = match.groups()
            sources.append(Source(address, (suite,), tuple(components.split())))
    return sources


def parse_deb822(text: str) -> list[Source]:
    """Read the format of *.sources: stanzas of `Field: value`."""
    sources: list[Source] = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, list[str]] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields.setdefault(name, []).extend(line.split())
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.split()
        if "deb" not in fields.get("types", []) or fields.get("enabled") in (["no"], ["false"]):
            continue
        suites, components = tuple(fields.get("suites", [])), tuple(fields.get("components", []))
        sources += [Source(address, suites, components) for address in fields.get("uris", [])]
    return sources


def choose_mirror(sources: list[Source]) -> str | None:
    """The first source of a whole Debian release: vendors and security updates have other suites."""
    for source in sources:
        if NAMES_OF_RELEASES & set(source.suites) and "main" in source.components:
            return source.address.rstrip("/")
    return None


def mirror(etc: Path = Path("/etc/apt")) -> str:
    sources: list[Source] = []
    for path in sorted(etc.glob("sources.list.d/*.sources")):
        sources += parse_deb822(path.read_text())
    for path in [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))]:
        if path.exists():
            sources += parse_one_line(path.read_text())
    address = choose_mirror(sources)
    if address is None:
        raise LabError("apt here has no source of a Debian release (in /etc/apt/sources.list or sources.list.d/)")
    return address


def parse_settings(dump: str) -> list[str]:
    """Of `apt-config dump`, what decides how a mirror can be reached: proxies, certificates, dates."""
    lines = [line.strip() for line in dump.splitlines()]
    return [line for line in lines if line.startswith(KEPT_SETTINGS) and not line.endswith(' "";')]


def settings() -> list[str]:
    return parse_settings(run(["apt-config", "dump"]))
