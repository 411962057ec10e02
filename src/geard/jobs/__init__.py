"""Jobs: a container that runs once, as a transient systemd unit `job-ID.service` of its own.

It belongs to systemd, not to who asked: clients come and go, the agent may be killed. The unit's main process
(`supervising.py`) runs the engine, keeps what the program writes within bounds, and writes down how it ended; what
it could not, the unit's last step does (`ending.py`). Both stand on the disk and the standard library alone.
"""
