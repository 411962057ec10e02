from tests.logs.agents import agent

__all__ = ["agent"]
