"""Gears that cost nothing while nobody asks for them, and answer whoever asks first.

`gear idle NAME` stops (or freezes) a gear and leaves its ports to the waker (`unit_hooks/waker.py`, a process of
its own): the first packet of a connection is held in the kernel until the gear listens, then goes on. Nobody
stands in the way of what follows. docs/IDLING.md.
"""
