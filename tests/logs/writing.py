"""Journal files for tests, written by systemd's own writer."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import closing
from pathlib import Path

from geard.host.journal_reader import Reader

START = 1_700_000_000_000_000
REMOTE = next(
    (
        found
        for folder in ("/usr/lib/systemd", "/lib/systemd")
        if (found := shutil.which(f"{folder}/systemd-journal-remote"))
    ),
    None,
)


class Writer:
    """systemd-journal-remote, told entry by entry what to put into a journal file."""

    def __init__(self, folder: Path) -> None:
        assert REMOTE is not None
        self.folder = folder
        self.written = 0
        argv = [REMOTE, "--output", str(folder / "system.journal"), "-"]
        self._remote = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def write(self, message: str | bytes, unit: str = "ctr-web.service", **fields: str) -> None:
        self.written += 1
        stamp = START + self.written * 1_000_000
        lines = [f"__REALTIME_TIMESTAMP={stamp}", f"__MONOTONIC_TIMESTAMP={self.written * 1_000_000}"]
        lines.append("_BOOT_ID=0123456789abcdef0123456789abcdef")
        fields = {"_SYSTEMD_UNIT": unit, "_PID": "7", "_COMM": "nginx", "PRIORITY": "6", **fields}
        lines += [f"{name}={value}" for name, value in fields.items()]
        body = message.encode() if isinstance(message, str) else message
        data = "\n".join(lines).encode() + b"\nMESSAGE\n" + len(body).to_bytes(8, "little") + body + b"\n\n"
        assert self._remote.stdin is not None
        self._remote.stdin.write(data)
        self._remote.stdin.flush()

    def settle(self) -> None:
        """Wait until a reader can see all."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            if (self.folder / "system.journal").exists():
                with closing(Reader(self.folder)) as reader:
                    reader.seek_head()
                    if sum(1 for _ in iter(reader.next, False)) >= self.written:
                        return
            time.sleep(0.02)
        raise AssertionError("systemd-journal-remote did not write what it was told")

    def end(self) -> None:
        assert self._remote.stdin is not None
        self._remote.stdin.close()
        self._remote.wait(20)
