"""Who may ask this machine's agent from elsewhere: tokens, and machines that are let in by a certificate.

What is kept of them, and how they are told at the door, is `geard.trust`'s and the agent's; here are the words by
which an admin lets them in, looks at them, and turns them out.
"""
