"""Content tokens: one request sealed into a link, for whoever holds it, until it expires.

The seal is authenticated encryption with a key of this machine's. So a link tells nothing, cannot be changed, and
nothing is kept of it but, where it changes something, that it was used.
"""
