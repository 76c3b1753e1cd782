"""One opened namespace, shared by the nine storages of a bundle."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Unpack

from dir_redis.amounts import DEFAULT_PLACES, AmountScale
from dir_redis.arguments import flag, integer, seconds
from dir_redis.durability import IN_MEMORY, Durability, parse_durability
from dir_redis.errors import (
    CorruptRecordError,
    NamespaceMismatchError,
    UnconfirmedWriteError,
)
from dir_redis.limits import DEFAULT_DOCUMENT_BYTES, DEFAULT_ID_BYTES, LimitOptions, Limits
from dir_redis.redis.connection import connect
from dir_redis.redis.driver import MAX_TIMEOUT_SEC, RedisDriver
from dir_redis.redis.keys import MAX_PARTITIONS, Keys, check_namespace, opening_keys
from dir_redis.redis.replies import as_text
from dir_redis.redis.retries import patiently
from dir_redis.redis.server_report import ServerReport, check_durability, look_at_server
from dir_redis.redis.steps import Call, Command, Steps
from dir_redis.redis.urls import mask_secrets

SCHEMA_VERSION = 2


class RedisOptions(LimitOptions, total=False):
    """How to open a namespace.

    Attributes:
        namespace: the name every key begins with: 1 to 64 letters, digits, ``_``, ``.``, ``-``;
            ``"dir"`` by default.
        partitions: how many slots of a cluster the flows and agents are spread over, 1 to
            1,024. Fixed when a namespace is first used (1 if not given); None takes what it has.
        amount_places: decimal places a reserved amount keeps, 0 to 18; 8 by default. Fixed
            when a namespace is first used.
        timeout_sec: how long an operation may take, retries included, until no further attempt
            begins; one under way is not cut off. 5 s by default, 300 at most.
        attempt_timeout_sec: how long one attempt waits for the server; 2 s by default. A ready
            client keeps its own.
        check_policy: whether to refuse a server whose maxmemory-policy evicts keys; True by
            default.
        durability: how far a write has to have got before its call returns: ``"memory"`` (the
            server's, the default), ``"disk"`` (the server's append-only file, on the disk) or
            ``"replicas=<n>"`` (that many replicas). What cannot be confirmed in time is an
            :class:`~dir_redis.UnconfirmedWriteError`. ``bundle.durable(...)`` asks otherwise for
            single calls.
        audit_chain: whether audit rows written through this store are chained by hash, for
            ``verify_audit``; False by default. Not fixed by the namespace: give it on every host.
        max_id_bytes: how long an id that is written may be, see :mod:`dir_redis.limits`.
        max_document_bytes: how long a document that is written may be, likewise.
        insecure_tls: whether the URL may turn off the verification of the server's certificate
            (``ssl_cert_reqs=none``, ``ssl_check_hostname=false``); False by default. By itself it
            turns nothing off.
    """

    namespace: str
    partitions: int | None
    amount_places: int
    timeout_sec: float
    attempt_timeout_sec: float
    check_policy: bool
    durability: str
    audit_chain: bool
    insecure_tls: bool


def check_option_names(options: Iterable[str]) -> None:
    """Refuse a misspelt option, which would otherwise leave its default in place unnoticed.

    Raises:
        TypeError: there is no such option.
    """
    for name in options:
        if name not in RedisOptions.__annotations__:
            known = ", ".join(RedisOptions.__annotations__)
            raise TypeError(f"there is no option {name!r}; there are {known}")


class RedisStore:
    """A namespace on a server: its keys, its scale, and the driver that reaches it.

    Args:
        url_or_client: see :func:`dir_redis.redis.connection.connect`.
        options: see :class:`RedisOptions`.

    Raises:
        StorageConfigurationError: the server is too old, or evicts keys.
        NamespaceMismatchError: the namespace was made otherwise.
        StorageUnavailableError: the server cannot be reached.
        StorageRefusedError: the server refuses: a password, a permission, a database.
        UnconfirmedWriteError: the namespace was made just now, and a failover may lose it.
    """

    def __init__(self, url_or_client: object, **options: Unpack[RedisOptions]) -> None:
        check_option_names(options)
        namespace = check_namespace(options.get("namespace", "dir"))
        check_policy = flag("check_policy", options.get("check_policy", True))
        durability = parse_durability("durability", options.get("durability", "memory"))
        insecure_tls = flag("insecure_tls", options.get("insecure_tls", False))
        self.audit_chain = flag("audit_chain", options.get("audit_chain", False))
        self.limits = Limits(
            options.get("max_id_bytes", DEFAULT_ID_BYTES),
            options.get("max_document_bytes", DEFAULT_DOCUMENT_BYTES),
        )
        partitions = options.get("partitions")
        if partitions is not None:
            partitions = integer("partitions", partitions)
            if not 1 <= partitions <= MAX_PARTITIONS:
                raise ValueError(f"partitions must be 1 to {MAX_PARTITIONS}, not {partitions}")
        self.scale = AmountScale(options.get("amount_places", DEFAULT_PLACES))
        timeout_sec = seconds("timeout_sec", options.get("timeout_sec", 5.0))
        attempt_timeout_sec = seconds(
            "attempt_timeout_sec", options.get("attempt_timeout_sec", 2.0)
        )
        if not 0 < timeout_sec <= MAX_TIMEOUT_SEC or not attempt_timeout_sec:
            raise ValueError(
                f"timeout_sec must be above 0 and at most {MAX_TIMEOUT_SEC:.0f}, "
                "and attempt_timeout_sec above 0"
            )
        self._timeout_sec = timeout_sec
        attempt_timeout_sec = min(attempt_timeout_sec, timeout_sec)
        self._connection = patiently(
            lambda: connect(
                url_or_client,
                attempt_timeout_sec=attempt_timeout_sec,
                insecure_tls=insecure_tls,
            ),
            mask_secrets(url_or_client) if isinstance(url_or_client, str) else "a ready client",
            timeout_sec,
        )
        self.url = self._connection.url
        self.where = self._connection.where
        self.is_cluster = self._connection.is_cluster
        self.driver = RedisDriver(self._connection, timeout_sec=timeout_sec)
        try:
            self.server = look_at_server(
                self._connection, timeout_sec, check_policy=check_policy, durability=durability
            )
            self.driver = self.driver.with_durability(_to_be_asked(durability, self.server))
            self.keys = Keys(namespace, self._settle(namespace, partitions))
        except BaseException:
            self.close()
            raise

    def durable(self, durability: Durability) -> RedisStore:
        """Return the same store, of which writes are confirmed otherwise.

        Raises:
            StorageConfigurationError: the server cannot confirm that.
        """
        # By what opening found out: for one call nobody is asked again.
        check_durability(self.where, self.server, durability)
        other = copy.copy(self)
        other.driver = self.driver.with_durability(_to_be_asked(durability, self.server))
        return other

    def settle(self) -> None:
        """Make the namespace again if it is gone, and check that it is still the same."""
        self._settle(self.keys.namespace, self.keys.partitions)

    def _settle(self, namespace: str, partitions: int | None) -> int:
        """Return the partition count of the namespace, which is made if it is new."""
        wanted = (SCHEMA_VERSION, partitions or 1, self.scale.places)
        try:
            stored = self.driver.run(_open_namespace(namespace, wanted))
        except UnconfirmedWriteError as error:
            raise UnconfirmedWriteError(error.wanted, error.confirmed) from error
        for what, mine, theirs in (
            ("schema version", SCHEMA_VERSION, stored[0]),
            ("partition count", partitions or stored[1], stored[1]),
            ("number of decimal places", self.scale.places, stored[2]),
        ):
            if mine != theirs:
                raise NamespaceMismatchError(
                    f"the namespace {namespace!r} at {self._connection.where} was made with "
                    f"{what} {theirs}, not {mine}; {_way_out(stored[0], stored[1])}"
                )
        return stored[1]

    def close(self) -> None:
        """Close the store, and its client unless that was handed in; further calls do nothing."""
        self.driver.close()
        self._connection.close()


def _to_be_asked(durability: Durability, server: ServerReport) -> Durability:
    """What confirms a write besides the server's reply.

    WAITAOF even where the reply comes after the disk already: that setting may change, and another
    server may take over. Only a server without it is believed.
    """
    return IN_MEMORY if durability.disk and not server.waits_for_disk else durability


def _way_out(schema: int, partitions: int) -> str:
    """What to do about a namespace that cannot be opened."""
    if schema >= SCHEMA_VERSION:
        return "open it as it was made, or use another namespace"
    if partitions > 1:
        return "one of several partitions cannot be brought over: use another namespace"
    return (
        "it is brought over when it is opened as it was made while nothing is reserved: release "
        "all reservations with the version that made them, or use another namespace"
    )


def _open_namespace(namespace: str, wanted: tuple[int, int, int]) -> Steps[tuple[int, int, int]]:
    keys = opening_keys(namespace)
    stored = yield Command("HMGET", keys[0], ("schema", "partitions", "amount_places"))
    if stored[0] is None or as_text(stored[0]) == "1":
        # New, or perhaps to be brought over: a write, and confirmed like all others. One that there
        # is can be opened also while nothing can be confirmed.
        stored = as_text((yield Call("namespace_open", keys, wanted))).split()
    try:
        schema, partitions, places = (int(as_text(value)) for value in stored)
    except (TypeError, ValueError) as error:
        raise CorruptRecordError(keys[0], "it should hold three numbers") from error
    return schema, partitions, places
