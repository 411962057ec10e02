"""What happens to gears, as it happened: installed, started, failed, deleted, whoever did it.

The journal is the record of it. systemd writes there what becomes of units, also of a crash while no agent runs
and of `systemctl stop`; what systemd does not know (an install, why a program ended, for which request) geard
writes beside it, from the agent, a local command or a hook alike. An event is read out of these entries, its
cursor is the journal's, and it can be resumed for as long as the journal keeps it. There is no second record.
"""
