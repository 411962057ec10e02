"""Callbacks: a URL that is told when an operation has ended.

What was promised is on disk before the operation is answered, and stays there until the receiver has said that it
has it: told at least once, signed, and again and again for about a day. Where that leads is checked as everything
is that the agent asks for others (`geard.host.fetch`).
"""
