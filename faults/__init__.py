"""Faults, made on purpose on real hosts: geard killed, or refused by the disk, at each call by which it changes
something. What was found stands in docs/RELIABILITY.md.

Outside (`scripts/faults`) the work is dealt to the hosts of a lab; `faults.inside` does it in a host.
"""
