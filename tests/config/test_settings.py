"""/etc/geard/geard.toml: what it settles, where a value comes from, and what a mistake in it does."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import cast

import pytest
from tests.fakes.terminal import Terminal

from geard import catalog
from geard.containers.settings import ContainerSettings
from geard.failures import Invalid
from geard.host.settings import Settings
from geard.setup.settings_file import TEXT

catalog.load()


def settle(gear: Terminal, text: str) -> Path:
    path = gear.host.paths.settings / "geard.toml"
    path.write_text(text)
    return path


def test_without_a_file_every_setting_has_its_default() -> None:
    found = Settings(Path("/nowhere/geard.toml")).all()
    assert {setting.origin for setting in found} == {"default"}
    assert {("engine", "default"), ("containers", "stop-timeout")} <= {(s.table, s.name) for s in found}


def test_show_says_where_each_value_comes_from(gear: Terminal) -> None:
    path = settle(gear, '# ours\n[containers]\n\nstop-timeout = 30\nmemory = { container-small = "1G" }\n')
    text = gear.ok("config", "show")
    assert f"stop-timeout = 30 # {path}:4" in " ".join(text.split())
    assert "pids = 1024 # default" in " ".join(text.split())
    (found,) = json.loads(gear.ok("config", "show", "-o", "json"))
    origins = {(s["Table"], s["Name"]): (s["Value"], s["Origin"]) for s in found["Settings"]}
    assert origins["containers", "memory"] == ({"container-small": "1G"}, f"{path}:5")
    assert gear.ok("config", "check") == f"{path} is right: 2 settings of your own\n"


def test_a_table_below_a_table_has_its_line_too(gear: Terminal) -> None:
    path = settle(gear, '[registries]\n\n[registries.mirrors]\n"docker.io" = ["m:5000"]\n')
    assert f'mirrors = {{ "docker.io" = ["m:5000"] }} # {path}:3' in " ".join(gear.ok("config", "show").split())


def test_settings_hold_for_gears_that_say_nothing_and_cat_says_so(gear: Terminal) -> None:
    path = settle(gear, '[containers]\nrestart = "on-failure"\nmemory = { container-small = "1G" }\npids = 77\n')
    gear.ok("install", "geard/sample", "web", "--pids", "5")
    text = gear.ok("cat", "web")
    assert "Restart=on-failure" in text
    assert f"memory       1G               {path}:3" in text
    assert "pids         5                asked" in text
    assert "stop-timeout 10 s             default" in text


def test_a_change_of_the_file_holds_at_once(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    settle(gear, "[containers]\npids = 7\n")
    gear.ok("install", "geard/sample", "web")
    assert "pids         7" in gear.ok("cat", "web")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[containers\n", "it is no TOML"),
        ("[container]\npids = 1\n", "there is no table [container]"),
        ("[containers]\npid = 1\n", "[containers] there is no key pid"),
        ('[containers]\npids = "many"\n', "[containers] pids: Expected `int`, got `str`"),
        ('[containers]\nslice = "huge"\n', "there is no slice 'huge'"),
        ('[containers]\nmemory = { container-small = "lots" }\n', "'lots' is no amount of memory"),
        ('[engine]\ndefault = "rkt"\n', "[engine] default: Invalid enum value 'rkt'"),
        ('[hooks]\nadded = ["firewall"]\n', "added: 'firewall' is no absolute path"),
        ('[fetch]\nallow = ["10.0.0.1/8"]\n', "has host bits set"),
        ('[registries]\ndefault = "https://x/"\n', "'https://x/' is no registry"),
    ],
)
def test_a_mistake_is_told_with_its_place(gear: Terminal, text: str, said: str) -> None:
    path = settle(gear, text)
    found = gear("config", "check")
    assert found.code == 64
    assert str(path) in found.err
    assert said in found.err


def test_a_mistake_in_one_table_keeps_nobody_from_the_others(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    settle(gear, "[hooks]\nwhenever = []\n")
    assert gear("start", "web").code == 0
    assert gear("install", "geard/sample", "other").code == 64, "it may be a rule that has to be applied to it"
    assert gear("status", "web").code == 0


def test_a_table_is_read_again_only_when_the_file_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "geard.toml"
    settings = Settings(path)
    first = settings.section(ContainerSettings)
    assert settings.section(ContainerSettings) is first
    path.write_text("[containers]\npids = 3\n")
    assert settings.section(ContainerSettings).pids == 3
    path.write_text("[containers]\npids = -3\n")
    with pytest.raises(Invalid, match="cannot be negative"):
        settings.section(ContainerSettings)
    path.unlink()
    assert settings.section(ContainerSettings) == first


# --- what is written about settings


def _uncommented() -> str:
    """The file that `gear setup` writes, with each key said aloud."""
    return re.sub(r"^# (?=[a-z-]+ = )", "", TEXT, flags=re.MULTILINE)


def test_the_file_that_setup_writes_says_every_key_with_its_default(tmp_path: Path) -> None:
    (tmp_path / "plain.toml").write_text(TEXT)
    (tmp_path / "said.toml").write_text(_uncommented())
    defaults = {(s.table, s.name): s.value for s in Settings(Path("/nowhere/geard.toml")).all()}
    plain, said = (Settings(tmp_path / name).all() for name in ("plain.toml", "said.toml"))
    assert {(s.table, s.name): s.value for s in plain} == defaults
    assert {s.origin for s in plain} == {"default"}
    assert {(s.table, s.name): s.value for s in said} == defaults
    assert "default" not in {s.origin for s in said}, "a key that is not in the file"


def test_the_page_on_settings_has_every_key_with_its_default() -> None:
    page = Path("docs/SETTINGS.md").read_text()
    for setting in Settings(Path("/nowhere/geard.toml")).all():
        table = page.partition(f"\n## [{setting.table}]\n")[2].partition("\n## ")[0]
        assert f"| `{setting.name}` | " in table, f"[{setting.table}] {setting.name} is not in docs/SETTINGS.md"
        shown = table.partition(f"| `{setting.name}` | `")[2].partition("`")[0]
        assert tomllib.loads(f"x = {shown}")["x"] == _plain(setting.value)


def _plain(value: object) -> object:
    return list(cast("tuple[object, ...]", value)) if isinstance(value, tuple) else value
