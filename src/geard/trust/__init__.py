"""Whom this machine's agent lets in beside those the kernel knows: by tokens, and by certificates of its own."""
