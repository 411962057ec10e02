"""A wall clock that jumps moves no bound of the agent's: those are counted by the monotonic clock."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest
from tests.daemon.belfry import RunningAgent, belfry

from geard.identifiers import new_request_id

HOUR = 3600.0


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 40 * 365 * 24 * HOUR], ids=["forth", "back", "by forty years"])
def test_a_clock_that_jumps(agent: RunningAgent, jump: float) -> None:
    """Amid a request that is waited for: it is neither given up nor waited for longer, it is joined, and others
    are answered.
    """
    id = new_request_id()
    with ThreadPoolExecutor(2) as pool:
        begun = time.monotonic()
        waiting = pool.submit(agent.ask, "PUT", "/bell/a", {"Hold": True}, Prefer="wait=1", X_Request_Id=id)
        following = pool.submit(agent.ask, "PUT", "/bell/b?follow=true", {"Hold": True})
        time.sleep(0.1)
        with mock.patch.object(time, "time", return_value=time.time() + jump):
            assert agent.ask("PUT", "/bell/c").status == 200
            assert "still going on after 1 s" in waiting.result().text
            assert 1 <= time.monotonic() - begun < 30
            assert not following.done()
            belfry.go_on.set()
            assert following.result().text.endswith("held no more\n")
            joined = agent.ask("PUT", "/bell/a?follow=true", {"Hold": True}, X_Request_Id=id)
        assert joined.text == "a rang 1 times\nstroke 0\nheld no more\n"
        again = agent.ask("PUT", "/bell/a?follow=true", {"Hold": True}, X_Request_Id=id)
        assert again.text == joined.text
    assert belfry.rung == {"a": 1, "b": 1, "c": 1}
