"""Making a host ready for gears, and saying what it lacks.

`gear setup` may be run at any time, again and again: it makes what is missing and leaves what is there. It owns
the folders, the slices and targets, the bridge, and the rules that keep gears apart (`unit_hooks/host.py`).
"""
