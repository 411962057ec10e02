"""What runs and what has ended, of all that was asked of a machine: `gear requests`, and `gear wait` to join one.

A request is known by its id, from the moment it is accepted until a day later; whoever did it, the agent or a
`gear` on the machine, and whatever became of them meanwhile.
"""
