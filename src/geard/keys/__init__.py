"""Public keys, and which gears each of them opens by SSH: `gear keys`, `list-keys`, `remove-keys`.

A key is kept once, under its fingerprint; a link for each gear says that it opens that one.
"""
