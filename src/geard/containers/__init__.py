"""The life of a container as a systemd unit: install, start, stop, restart, status, list, delete.

What is asked for is a `Definition`. On disk it is two files, a unit whose `[Service]` never changes and a
definition that the unit reads anew at every start, each version kept under its request id and the current one
hard-linked (`versions.py`). Installing and starting write files and answer; systemd is told behind the answer.
Whatever other rooms add to a gear comes through their facets.
"""
