"""Connections that give no caller the answer to somebody else's question.

What a signal handler raises (Ctrl-C, a time limit) may end a call after its request and before its
reply. redis-py gives the connection back to its pool all the same, and looks only whether a reply
has come already: whoever takes the connection before that reads the reply of the call that ended.
"""

from __future__ import annotations

from typing import Any

from redis.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.exceptions import ResponseError
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection


class _OwnAnswers(AbstractConnection):
    """Counts the replies it is owed; when it is taken from its pool with one, it connects anew."""

    _owed = 0
    _packed = 1

    def connect(self) -> None:
        if self._owed:
            self.disconnect()
        super().connect()  # type: ignore[no-untyped-call]

    def disconnect(self, *arguments: Any, **named: Any) -> None:
        super().disconnect(*arguments, **named)  # type: ignore[no-untyped-call]
        self._owed = 0

    def pack_commands(self, commands: Any) -> Any:
        self._packed = len(commands)
        return super().pack_commands(commands)  # type: ignore[no-untyped-call]

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        # Before it is sent: an interruption may come at any moment.
        self._owed, self._packed = self._owed + self._packed, 1
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    def read_response(self, *arguments: Any, **named: Any) -> Any:
        try:
            reply = super().read_response(*arguments, **named)
        except ResponseError:
            self._owed -= 1
            raise
        self._owed -= 1
        return reply


class _Plain(_OwnAnswers, Connection):
    pass


class _Tls(_OwnAnswers, SSLConnection):
    pass


class _Unix(_OwnAnswers, UnixDomainSocketConnection):
    pass


class _Managed(_OwnAnswers, SentinelManagedConnection):
    pass


class _ManagedTls(_OwnAnswers, SentinelManagedSSLConnection):
    pass


OWN_ANSWERS: dict[Any, Any] = {
    Connection: _Plain,
    SSLConnection: _Tls,
    UnixDomainSocketConnection: _Unix,
    SentinelManagedConnection: _Managed,
    SentinelManagedSSLConnection: _ManagedTls,
}
"""For each kind of redis-py's connections the one to be used in its place."""
