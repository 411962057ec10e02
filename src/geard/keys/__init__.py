"""Public keys, and which gears and repositories each opens by SSH: `gear keys`, `list-keys`, `remove-keys`.

A key is kept once, under its fingerprint; a link for each gear or repository says that it opens that one.
"""
