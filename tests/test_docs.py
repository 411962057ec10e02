"""What the pages quote is what the program says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geard import catalog
from geard.cli import exits
from geard.daemon.table import entries, render_table
from geard.dispatch.operation import all_operations

DOCS = Path("docs")
_PLACEHOLDERS = re.compile(
    r"…|WEB|/srv/x|/run/\S+|/etc/\S+:|\[registries\]|added|(?<=at )h1|\(status \d+\)|\b\d+\b|'\w+'"
    r"|A, installed B|;|: $"
)
# What podman, registries and curl say; geard hands it on.
_OTHERS = (
    "certificate signed by unknown authority",
    "server gave",
    "no space left on device",
    "Connection refused",
    "curl:",
)


def _sources() -> str:
    """Every text of the program, with … where something is put in."""
    code = "\n".join(path.read_text() for path in Path("src").rglob("*.py"))
    joined = re.sub(r'"\s*\n\s*f?"', "", code)
    return re.sub(r'\{[^{}\n"]*\}', "…", joined).casefold()


def _messages() -> list[str]:
    """What stands in code, in the first column of the tables above the exit codes."""
    page = (DOCS / "TROUBLESHOOTING.md").read_text().partition("\n## Exit codes")[0]
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    return [text for row in rows for text in re.findall(r"`([^`]+)`", row)]


def test_the_messages_of_troubleshooting_are_the_programs() -> None:
    sources, messages = _sources(), _messages()
    assert len(messages) > 30
    for message in messages:
        for part in filter(None, map(str.strip, _PLACEHOLDERS.split(message))):
            known = part.casefold() in sources or any(other in part for other in _OTHERS)
            assert known or len(part) < 6, f"the program does not say {part!r}, of {message!r}"


@pytest.mark.parametrize("code", sorted({exits.USAGE, *(code for _, code in exits._CODES)}))  # pyright: ignore[reportPrivateUsage]
def test_the_exit_codes_are_all_told(code: int) -> None:
    assert f"\n| {code} | " in (DOCS / "TROUBLESHOOTING.md").read_text()


def test_pages_link_to_pages_that_are_there() -> None:
    for page in (Path("README.md"), *DOCS.glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page} links to {target}"


def test_the_routes_of_the_api_page_are_those_of_gear_routes() -> None:
    catalog.load()
    known = entries(kind for kind in all_operations() if kind.__module__.startswith("geard."))
    told = (DOCS / "API.md").read_text().partition("## Routes\n\n```\n")[2].partition("\n```")[0]
    assert told == render_table(known), "put the output of 'gear routes' there"


def test_what_the_page_on_isolation_names_as_its_tests_is_there() -> None:
    """Each line of its first table names one: a file, and tests that are in it."""
    files = {str(path): path.read_text() for path in Path("tests").rglob("test_*.py")}
    table = (DOCS / "ISOLATION.md").read_text().partition("|---|---|---|\n")[2].partition("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()]
    assert len(rows) > 25
    for what, _, named in rows:
        texts: list[str] = list(files.values())
        words = re.findall(r"`([\w./]+)`", named)
        assert words or named == "the same", what
        for word in words:
            if word.endswith(".py"):
                texts = [text for path, text in files.items() if f"/{path}".endswith(f"/{word}")]
                assert texts, f"{what}: there is no {word}"
            else:
                assert any(f"def {word}(" in text for text in texts), f"{what}: there is no {word} there"
