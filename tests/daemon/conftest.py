from tests.daemon.belfry import agent

__all__ = ["agent"]
