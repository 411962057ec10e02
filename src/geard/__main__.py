"""`gear`: puts the terminal together. The one place that loads the host, and only when this machine is asked."""

from __future__ import annotations

import sys

from geard.cli import main as terminal
from geard.cli.asking import session
from geard.transport import Transport


def _this_machine(request_id: str) -> Transport:
    # Late on purpose: a laptop's `gear status h1/web` never loads asyncio, D-Bus or the engines.
    from geard.daemon.local import LocalPerformer
    from geard.host.here import this_host
    from geard.transport.local import LocalTransport

    return LocalTransport(lambda: LocalPerformer(this_host()), request_id)


def main() -> None:
    session.local = _this_machine
    sys.exit(terminal.run())


if __name__ == "__main__":
    main()
