"""The system bus, held to what systemd and dbus-daemon can bear.

dbus-daemon refuses more than 128 pending replies of one connection, and dbus-fast gives up a whole connection
when its socket is full for a moment (EAGAIN; still so in 5.2): so at most 64 calls are in flight, each has a
time limit, and a lost connection is made anew for the next call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import AuthError, DBusError

from geard.failures import TimedOut, Unavailable

IN_FLIGHT = 64
CALL_SECONDS = 25.0


class Refused(Exception):
    """The other side answered with an error; `name` is its D-Bus name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name
        self.text = text


Listener = Callable[[Message], None]


class Bus:
    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._bus: MessageBus | None = None
        self._connecting = asyncio.Lock()
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._listeners: list[Listener] = []
        self._matches: list[str] = []
        self.on_connect: Callable[[], Any] | None = None

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        *body: Any,
        seconds: float = CALL_SECONDS,
    ) -> list[Any]:
        """One method call. Raises Refused for an error reply, Unavailable without a bus, TimedOut."""
        message = Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
        )
        async with self._slots:
            bus = await self._connection()
            try:
                reply = await asyncio.wait_for(bus.call(message), seconds)
            except TimeoutError:
                raise TimedOut(f"{destination} did not answer {member} within {seconds:g} s") from None
            except (OSError, EOFError, DBusError) as error:
                raise Unavailable(f"the system bus was lost while asking {member}: {error}") from error
        if reply.message_type is MessageType.ERROR:
            text = str(reply.body[0]) if reply.body else ""
            raise Refused(reply.error_name or "", text)
        return reply.body

    async def listen(self, rule: str, listener: Listener) -> None:
        """Have `listener` called with every signal that comes; `rule` is a match rule for dbus-daemon."""
        self._listeners.append(listener)
        self._matches.append(rule)
        if self._bus is not None and self._bus.connected:
            await self._add_match(self._bus, rule)

    def close(self) -> None:
        if self._bus is not None:
            self._bus.disconnect()
            self._bus = None

    async def _connection(self) -> MessageBus:
        if self._bus is not None and self._bus.connected:
            return self._bus
        async with self._connecting:
            if self._bus is not None and self._bus.connected:
                return self._bus
            try:
                bus = await MessageBus(bus_address=self._address, bus_type=BusType.SYSTEM).connect()
            except (OSError, AuthError, DBusError, EOFError) as error:
                raise Unavailable(
                    f"the system bus does not answer: {error}", hint="is dbus running? systemctl status dbus"
                ) from error
            bus.add_message_handler(self._dispatch)
            for rule in self._matches:
                await self._add_match(bus, rule)
            self._bus = bus
            if self.on_connect is not None:
                await self.on_connect()
            return bus

    async def _add_match(self, bus: MessageBus, rule: str) -> None:
        await bus.call(
            Message(
                destination="org.freedesktop.DBus",
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="AddMatch",
                signature="s",
                body=[rule],
            )
        )

    def _dispatch(self, message: Message) -> None:
        if message.message_type is MessageType.SIGNAL:
            for listener in self._listeners:
                listener(message)
