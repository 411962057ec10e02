"""Programs as the agent runs them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from geard.host import process
from geard.host.process import run


async def test_so_many_of_one_program_at_once_and_others_beside(tmp_path: Path) -> None:
    held = ["/bin/sh", "-c", f"touch {tmp_path}/$$; until [ -e {tmp_path}/go ]; do sleep 0.01; done"]
    begun = [asyncio.create_task(run(held)) for _ in range(process.AT_ONCE * 2)]
    while len(list(tmp_path.iterdir())) < process.AT_ONCE:  # noqa: ASYNC110 - files of other processes
        await asyncio.sleep(0.01)
    assert (await run(["/bin/echo", "here"])).output == "here\n"
    await asyncio.sleep(0.1)
    assert len(list(tmp_path.iterdir())) == process.AT_ONCE
    (tmp_path / "go").touch()
    await asyncio.gather(*begun)
    assert len(list(tmp_path.iterdir())) == process.AT_ONCE * 2 + 1
