"""Run `faults.inside` with geard's own interpreter, which (`-I`) takes nothing from its surroundings."""

import runpy
import sys

sys.path.insert(0, sys.argv.pop(1))
runpy.run_module("faults.inside", run_name="__main__", alter_sys=True)
