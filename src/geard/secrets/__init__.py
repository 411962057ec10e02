"""Passwords, keys and the like: kept by name, given to gears as files or as variables.

A secret comes in and never goes out again but into the gears that ask for it. Its value is in one file that only
root reads, and while such a gear runs in memory; it stands in no definition, log, answer or command line. A gear
takes it in when it starts, so a new value acts at the next start.
"""
