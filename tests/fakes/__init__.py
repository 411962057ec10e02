"""Stand-ins for what a host offers, each held to the real thing by tests/host/conformance.py."""
