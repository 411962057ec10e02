"""Builds: an image made from source, in a transient unit `build-ID.service` of its own.

The unit goes on whatever becomes of the agent or of who asked. What it is to do, where it stands, what it printed
and what came of it are files below `/var/lib/containers/builds/ID` (docs/DISK.md). What it runs is in containers,
with users of their own, on the network of gears, within limits; they see their source and nothing of the host.
"""
