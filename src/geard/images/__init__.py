"""Images: which one a name means, bringing it here, credentials for registries.

A pull is a systemd unit of its own, one an image, `geard-pull@KEY.service`: whoever wants the same image waits
for the same unit, and it outlives whoever asked.
"""
