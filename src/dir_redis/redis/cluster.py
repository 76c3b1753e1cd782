"""Sending to a cluster: to whichever node has a key's slot, within the time of one attempt.

redis-py's own way asks all nodes anew after each error, in the thread that met it and one thread
at a time: of eight threads before six silent nodes the last waited 9.9 s, with a timeout of 0.6 s
and 0.2 s per attempt. Here the nodes are asked in the background, and
:mod:`dir_redis.redis.retries` tries again with what is known by then.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any
from weakref import WeakSet

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisClusterException,
)

logger = logging.getLogger(__name__)

Command = tuple[Any, ...]

# While a slot moves one node may send on to another and that one back.
_MOST_REDIRECTIONS = 4


class ClusterCommands:
    """Sends commands of one slot each.

    Args:
        client: knows the nodes, and has a client for each.
    """

    def __init__(self, client: RedisCluster) -> None:
        self._client = client
        self._looking: threading.Thread | None = None
        self._new: dict[str, ClusterNode] = {}
        _all.add(self)

    def close(self) -> None:
        """Close the connections to all nodes, those too that only a redirection named."""
        for node in (*self._client.get_nodes(), *self._new.values()):
            if node.redis_connection is not None:
                node.redis_connection.connection_pool.disconnect()
        self._client.close()

    def execute(self, *command: Any) -> Any:
        """Send a command once, and again only where a node says that another has its slot."""
        return self._send(_key_of(command), (command,))[0]

    def execute_confirmed(self, command: Command, key: str, confirm: Command) -> tuple[Any, Any]:
        """Send a write, and behind it on the same connection what waits for its confirmation."""
        reply, confirmed = self._send(key, (command, confirm))
        return reply, confirmed

    def _send(self, key: str, commands: tuple[Command, ...]) -> list[Any]:
        asking = False
        try:
            node = self._client.get_node_from_key(key)
            for redirection in range(_MOST_REDIRECTIONS + 1):
                try:
                    return pipelined(
                        self._client.get_redis_connection(node), commands, asking=asking
                    )
                except AskError as error:  # a MovedError is one too
                    asking = not isinstance(error, MovedError)
                    if not asking:
                        self.look_again()
                    if redirection == _MOST_REDIRECTIONS:
                        raise
                    node = self._named_in(error)
        except (redis.ConnectionError, redis.TimeoutError, ClusterDownError, RedisClusterException):
            self.look_again()
            raise
        raise AssertionError("the last redirection is raised")

    def _named_in(self, error: AskError) -> ClusterNode:
        """The node that a redirection names; a new one has no slots yet, so nobody told of it."""
        host, port = self._client.nodes_manager.remap_host_port(error.host, error.port)
        known: ClusterNode | None = self._client.get_node(host=host, port=port)
        return known or self._new.setdefault(f"{host}:{port}", ClusterNode(host, port, "primary"))

    def look_again(self) -> None:
        """Have the nodes asked who has which slot, unless that is going on already."""
        looking = self._looking
        if looking is None or not looking.is_alive():
            thread = threading.Thread(target=self._look, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread is to be had, as when the interpreter shuts down
                self._look()
            else:
                self._looking = thread

    def forget_locks_of_parent(self) -> None:
        """Take new locks in a forked child: who holds the old ones are threads of the parent."""
        self._looking = None
        self._client._lock = threading.RLock()
        nodes = self._client.nodes_manager
        nodes._lock, nodes._initialization_lock = threading.RLock(), threading.RLock()

    def _look(self) -> None:
        try:
            # Their connections stay as they are: redis-py would make each anew after its next
            # reply, and lose that if it cannot.
            self._client.nodes_manager.initialize(disconnect_startup_nodes_pools=False)
        except Exception as error:  # whoever needs the answer meets an error of its own
            logger.debug("the nodes of the cluster could not be asked: %r", error)


_all: WeakSet[ClusterCommands] = WeakSet()


def _forget_locks_of_parent() -> None:
    for commands in list(_all):
        commands.forget_locks_of_parent()


os.register_at_fork(after_in_child=_forget_locks_of_parent)


def pipelined(
    client: redis.Redis, commands: tuple[Command, ...], *, asking: bool = False
) -> list[Any]:
    """Send commands on one connection, and raise what the first one meets.

    Args:
        client: of one server.
        commands: the commands.
        asking: whether a slot that the server is only importing is meant.

    Returns:
        Their replies; one but the first may be the error that was met in its place.
    """
    if len(commands) == 1 and not asking:
        return [client.execute_command(*commands[0])]
    with client.pipeline(transaction=False) as pipeline:
        if asking:
            pipeline.execute_command("ASKING")
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = pipeline.execute(raise_on_error=False)[-len(commands) :]
    if isinstance(replies[0], Exception):
        raise replies[0]
    return replies


def _key_of(command: Command) -> str:
    """One of the keys of a command that the driver sends; all are in one slot."""
    if command[0] in ("EVAL", "EVALSHA"):
        place = 3
    else:
        place = command.index("STREAMS") + 1 if command[0] == "XREAD" else 1
    return str(command[place])
