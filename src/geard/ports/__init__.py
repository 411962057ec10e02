"""Which host port belongs to whom.

A port is reserved by an atomic symbolic link `ports/interfaces/1/49/4900` (UDP: `4900.udp`) to the gear's unit
file, kept across restarts and re-installs, and released with the gear. Automatic ones come from 4000 to 59999
without 43273, are tested against what really listens, and cost the same however many are in use.
"""
