#!/usr/bin/python3 -IS
"""A job's unit: what it runs, and its last step.

gear-job run ID      the main process: the engine, what the program writes, how it ends
gear-job end ID      ExecStopPost: what is left to do, however the main process ended
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.append(f"/opt/geard/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")
    if sys.argv[1] == "run":
        from geard.jobs.supervising import main
    else:
        from geard.jobs.ending import main
    sys.exit(main(sys.argv[2]))
