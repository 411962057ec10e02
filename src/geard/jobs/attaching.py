"""Somebody's line and a job: what it writes is read from the disk, input and signals go to its unit."""

from __future__ import annotations

import asyncio
import json
import struct
from contextlib import suppress

from geard.exchange import Errors, Input, InputEnd, Line, Output, Signal, Size, Taken
from geard.failures import Unavailable
from geard.frames import encode
from geard.host import Host
from geard.jobs import records
from geard.jobs.output import ERRORS, Reader
from geard.jobs.records import JobFolders, JobRecord
from geard.jobs.requests import AttachToJob, JobResult

HEAD = struct.Struct(">BI")
PLACE = struct.Struct(">Q")
COUNT = struct.Struct(">I")
START_SECONDS = 120.0
"""for its unit to begin, or to say how it ended where its main process was killed"""
BATCH = 32


async def attach(line: Line, host: Host, request: AttachToJob, record: JobRecord) -> int:
    """The job's exit status. Raises Unavailable where nobody will ever know that."""
    folders = JobFolders.of(host.paths, request.id)
    connection = await _connected(folders, record)
    talk = _Talk(line, folders, request, connection)
    try:
        result = await talk.run() if connection is not None else records.result(folders)
    finally:
        talk.close()
    if result is None:
        result = await _awaited(folders, record)
    await talk.catch_up()
    if result.reason in ("not started", "cut", "lost", "time limit", "artifacts", "memory") and result.message:
        await line.say(Errors(f"gear: job {record.id}: {result.message}\n".encode()))
    return result.status


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _connected(folders: JobFolders, record: JobRecord) -> Connection | None:
    """A line to its unit's main process, once that is there; None where the job has ended."""
    loop, pause = asyncio.get_running_loop(), 0.003
    until = loop.time() + START_SECONDS
    while True:
        if folders.result.exists() or record.boot != records.boot_id():
            return None
        with suppress(FileNotFoundError, ConnectionRefusedError):
            return await asyncio.open_unix_connection(str(folders.state / "attach"))
        if loop.time() > until:
            raise Unavailable(
                f"job {record.id} was asked for, and has not begun", hint=f"systemctl status job-{record.id}"
            )
        await asyncio.sleep(pause)
        pause = min(0.25, pause * 1.2)


async def _awaited(folders: JobFolders, record: JobRecord) -> JobResult:
    """Its main process has gone without a word: the unit's last step says how."""
    if record.boot != records.boot_id():
        return records.lost()
    for _ in range(int(START_SECONDS / 0.1)):
        found = records.result(folders)
        if found is not None:
            return found
        await asyncio.sleep(0.1)
    raise Unavailable(f"nobody wrote down how job {record.id} ended", hint=f"journalctl -u job-{record.id}")


class _Talk:
    def __init__(
        self, line: Line, folders: JobFolders, request: AttachToJob, connection: Connection | None
    ) -> None:
        self._line, self._folders, self._request = line, folders, request
        self._connection = connection
        self._output = Reader(str(folders.kept))
        self._news = asyncio.Event()
        self._skip = request.recent

    async def run(self) -> JobResult | None:
        """Until the job has ended, or its main process has."""
        assert self._connection is not None
        reader, writer = self._connection
        self._put(writer, "h", json.dumps({"Driver": self._request.drive}).encode())
        if self._request.rows and self._request.columns:
            writer.write(encode(Size(self._request.rows, self._request.columns)))
        listening = asyncio.create_task(self._listen(reader))
        others = [asyncio.create_task(self._hear(writer)), asyncio.create_task(self._pump(writer))]
        try:
            await asyncio.wait([listening, *others], return_when=asyncio.FIRST_COMPLETED)
            for task in others:
                if task.done():
                    task.result()
        finally:
            for task in (listening, *others):
                task.cancel()
            await asyncio.gather(listening, *others, return_exceptions=True)
        return records.result(self._folders)

    async def catch_up(self) -> None:
        """What is kept, to its end."""
        while await self._some():
            pass
        self._output.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection[1].close()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Ends with the job, or the line to it."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, length = HEAD.unpack(await reader.readexactly(HEAD.size))
                body = await reader.readexactly(length)
                if kind == ord("x"):
                    return
                if kind == ord("n"):
                    if self._skip:  # what it wrote before is not wanted
                        self._skip, self._output.place = False, PLACE.unpack(body)[0]
                    self._news.set()
                elif kind == ord("t"):
                    await self._line.say(Taken(*COUNT.unpack(body)))

    async def _hear(self, writer: asyncio.StreamWriter) -> None:
        while True:
            event = await self._line.hear()
            match event:
                case Input(data) if not self._request.stdin:
                    await self._line.say(Taken(len(data)))
                case InputEnd() if not self._request.stdin:
                    continue
                case Input() | InputEnd() | Size() | Signal():
                    with suppress(ConnectionError):
                        writer.write(encode(event))
                        await writer.drain()

    async def _pump(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while await self._some():
                self._say_where(writer)
            self._say_where(writer)

    async def _some(self) -> bool:
        """A part of what there is more; whether there was any."""
        for _ in range(BATCH):
            record = self._output.read()
            if record is None:
                return False
            if record.missing:
                told = f"\ngear: {record.missing} bytes of output here are not kept\n"
                await self._line.say(Errors(told.encode()))
            await self._line.say((Errors if record.kind == ERRORS else Output)(record.data))
        return True

    def _say_where(self, writer: asyncio.StreamWriter) -> None:
        self._put(writer, "p", PLACE.pack(self._output.place))

    def _put(self, writer: asyncio.StreamWriter, kind: str, body: bytes) -> None:
        if not writer.is_closing():
            writer.write(HEAD.pack(ord(kind), len(body)) + body)
