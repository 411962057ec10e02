"""Looking a host over: what works, what does not or may not, what each lack costs and what would help.

Each check has its one home here; `gear setup` asks those that it cannot do without. Checks of the machine decide
from texts (`machine.py`), those of what geard runs ask systemd and the engines (`checks.py`, `gears.py`).
"""
