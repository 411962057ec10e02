"""Rules of the kernel's packet filter, loaded by nft(8): a whole text at once, in force together or not at all."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

from geard.failures import Unavailable

NFT = "/usr/sbin/nft"
LOCALNET = [Path(f"/proc/sys/net/ipv4/conf/{bridge}/route_localnet") for bridge in ("geard0", "geard1")]


class Rules:
    def load(self, text: str) -> None:
        """Blocks. Raises Unavailable with nft's words."""
        try:
            finished = subprocess.run([NFT, "-f", "-"], input=text, text=True, capture_output=True, check=False)
        except FileNotFoundError:
            raise Unavailable(f"{NFT} is not installed", hint="gear setup says what this host lacks") from None
        if finished.returncode:
            said = finished.stderr.strip().splitlines() or [f"status {finished.returncode}"]
            raise Unavailable(f"the kernel does not take the rules: {said[0]}", hint="nft list ruleset")

    def lead_loopback_to_gears(self) -> None:
        """Let packets for 127.0.0.0/8 be led to gears, as engines have it (ip-sysctl, route_localnet)."""
        for setting in LOCALNET:
            with suppress(OSError):
                setting.write_text("1")
