"""Tests in a virtual machine: what only a kernel of its own has. It is a lab host like others."""

from __future__ import annotations

from tests.lab.conftest import engine, h1, host, lab

__all__ = ["engine", "h1", "host", "lab"]
