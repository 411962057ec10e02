"""What an admin has settled for a machine: /etc/geard/geard.toml, shown with where each value comes from.

The tables themselves are the rooms' (`settings.py` in each), and are read by `geard.host.settings`.
"""
