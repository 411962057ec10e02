"""The man pages say what `--help` says, for every verb and the verbs of a verb."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]


def test_each_verb_has_a_page(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(TOP / "packaging/manpages.py"), str(tmp_path)], check=True, timeout=60)
    pages = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert {"gear.1", "gear-install.1", "gear-secret.1", "gear-secret-create.1"} <= set(pages)
    assert '.TH "GEAR\\-SECRET\\-CREATE" 1' in pages["gear-secret-create.1"]
    assert '.B "gear secret create"' in pages["gear-secret-create.1"]
    assert '.BR "gear\\-secret\\-create" (1)' in pages["gear-secret.1"]
