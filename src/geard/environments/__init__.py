"""Variables shared by name.

An environment has an id and a file `env/contents/ab/ID` of `NAME="VALUE"` lines. A gear reads the one of its own
name, or the one that `--env-id` says, at each start; so a change acts at the next start, and several gears may
share one. Whatever is accepted arrives in the container byte for byte; what cannot is refused with the reason.
"""
