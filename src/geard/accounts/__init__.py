"""A user of the host for every gear: `ctr-ID`, with the first of the gear's own ids. It owns what root inside the
gear owns, and is who logs in by SSH; it can do nothing else.

It is a systemd user record (systemd.io/USER_RECORD), a file that nss-systemd reads: nothing is written to
/etc/passwd. Gears that share the host's users (--simple) have none.
"""
