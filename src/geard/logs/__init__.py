"""What gears write and what systemd says about them, from the journal.

A log is a page of old lines, then new ones as they come. Asked without a word more, it is what it always was:
the last 30 seconds, or the last ten lines where those are more, and what comes in the next 30 seconds. Every
line has a cursor, after which another asker can go on.
"""
