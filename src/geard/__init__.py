"""geard: any container image as a first-class systemd service, here or on fifty hosts.

`docs/ARCHITECTURE.md` says how the parts fit; each room's own docstring says what it is for.
"""

__version__ = "0.1.0"
