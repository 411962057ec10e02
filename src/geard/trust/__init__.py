"""Whom this machine's agent lets in beside those the kernel knows: tokens, its authority, and certificates of that."""
