"""What an error of the driver or the server means: worth another try, possibly applied, for whom.

Every error passes through :func:`diagnose`, so none of them reaches a caller as it is.
"""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass, replace
from typing import TypeGuard

from redis import exceptions as driver
from redis.sentinel import MasterNotFoundError, SlaveNotFoundError

from dir_redis.errors import (
    CorruptRecordError,
    StorageConfigurationError,
    StorageError,
    StorageRefusedError,
    StorageUnavailableError,
)
from dir_redis.redis.causes import causes
from dir_redis.redis.tls import tls_refusal, tls_trouble

# Codes of faults that no server names: the two sides agree on no TLS; there is no room.
_TLS = "TLS"
_FULL = "MAXCLIENTS"
_SAYS_FULL = "max number of clients"

# What opening does, in messages.
ON_OPENING = "on opening"

# All that a client raises; redis-py's cluster errors are not RedisErrors.
DRIVER_ERRORS = (driver.RedisError, driver.RedisClusterException, OSError, UnicodeError)

# With these there was no connection to send anything on.
_NO_CONNECTION = (
    ConnectionRefusedError,
    FileNotFoundError,
    socket.gaierror,
    driver.MaxConnectionsError,
    driver.SlotNotCoveredError,
    MasterNotFoundError,
    SlaveNotFoundError,
)

_PASSING_CODES = {"LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN"}
# What a server says that is a replica now, or that its replicas have left for another primary.
NO_LONGER_PRIMARY = {"READONLY", "NOREPLICAS"}
_PASSING_WITH_FAILOVER = {*NO_LONGER_PRIMARY, "MOVED", "ASK"}
_CODE = re.compile(r"(?:^|[\s(:-])-?([A-Z]{3,}) ")
_REPEATED = re.compile(r", with args beginning with: .*", re.DOTALL)
_CONNECTING_TO = re.compile(r"connecting to (\S+:\d+)\.")
_CORRUPT = re.compile(r"DIRCORRUPT (\d+)")

# With these a server refuses a script before its first write; scripts check all else themselves.
_NOTHING_WRITTEN = {"OOM", "READONLY", "MISCONF", "NOREPLICAS", "WRONGTYPE"}

# redis-py's messages may be very long, and so may be a list of keys.
_LONGEST_CAUSE = 200
_MOST_KEYS = 20

_ADVICE = {
    "OOM": "the server is out of memory: raise maxmemory or free some",
    "READONLY": "the server is a replica: connect to the primary",
    "MISCONF": "the server cannot persist: look at its disk and log",
    "NOREPLICAS": "too few replicas are in sync with the server",
    "NOPERM": "the user lacks a permission: see the access rules of the server",
    "DENIED": "the server is in protected mode, in which it takes connections from its own machine "
    "alone: set a password or users there, and put them into the URL",
    "MAXCLIENTS": "max number of clients reached: raise the server's maxclients, or open fewer "
    "connections",
    "NOAUTH": "the server wants a password: put it into the URL",
    "WRONGPASS": "the user name or password is wrong",
    "BUSY": "a script of somebody's keeps the server busy",
    "LOADING": "the server is still loading its data",
    "PROTOCOL": "what listens there does not speak the Redis protocol: look at the host and port, "
    "and write rediss:// where it speaks TLS",
}
# What one of another kind says than the URL is of, and what to do then.
_OF_ANOTHER_KIND = (
    (
        "unknown command .SENTINEL",
        "no Sentinel listens there: name the Sentinels' hosts and ports, "
        "or write redis:// or redis+cluster:// for servers",
    ),
    ("cluster support disabled", "it is no node of a cluster: write redis://"),
    (
        "unknown command .CLUSTER",
        "it is no node of a cluster: write redis+sentinel://<hosts>/"
        "<service> where Sentinels listen",
    ),
    (
        "unknown command .(HMGET|EVALSHA)",
        "it keeps no data: write redis+sentinel://<hosts>/<service> where Sentinels listen",
    ),
)
_CLOSED_AT_ONCE = (
    "a new connection that is closed unanswered usually means protected mode, a full server "
    "(maxclients), TLS on one side alone, or a proxy without a server behind it"
)
_KNOWN_CODES = {*_ADVICE, *_PASSING_CODES, *_PASSING_WITH_FAILOVER, "WRONGTYPE"}

# redis-py takes the code off the message of an error it has a class for.
_CODES_OF_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (driver.ReadOnlyError, "READONLY"),
    (driver.OutOfMemoryError, "OOM"),
    (driver.NoPermissionError, "NOPERM"),
    (driver.MasterDownError, "MASTERDOWN"),
    (driver.ClusterDownError, "CLUSTERDOWN"),
    (driver.TryAgainError, "TRYAGAIN"),
    (driver.MovedError, "MOVED"),
    (driver.AskError, "ASK"),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed attempt.

    Attributes:
        error: what the driver raised.
        code: the server's error code; empty if the server never answered.
        passing: whether another attempt may succeed.
        applied: whether the attempt may have been applied all the same.
        half_way: whether it was, in part: the server cut the script off.
    """

    error: Exception
    code: str
    passing: bool
    applied: bool
    half_way: bool = False


def diagnose(error: Exception, *, fails_over: bool, single_attempt: bool) -> Fault:
    """Say what a failed attempt means.

    Args:
        error: what the client raised.
        fails_over: whether another server can take over.
        single_attempt: whether the client sent the command at most once. If not, an error that
            proves its last sending futile says nothing about the ones before.
    """
    _forget_arguments(error)
    fault = _diagnose(error, fails_over)
    no_answer = isinstance(error, driver.ConnectionError | driver.RedisClusterException)
    if (fault.passing or no_answer) and not single_attempt:
        return replace(fault, applied=True)
    return fault


def _forget_arguments(error: BaseException) -> None:
    """Forget what a server repeats of a command it does not know: it may be AUTH's password."""
    for cause in causes(error):
        cause.args = tuple(
            _REPEATED.sub("", part) if isinstance(part, str) else part for part in cause.args
        )


def _diagnose(error: Exception, fails_over: bool) -> Fault:
    if not isinstance(error, driver.ResponseError) and tls_refusal(error):
        return Fault(error, _TLS, passing=False, applied=False)
    if any(_SAYS_FULL in str(cause) for cause in causes(error)):
        return Fault(error, _FULL, passing=True, applied=False)  # it reads nothing then
    reason = _reason_of(error)
    if is_denied(reason):
        return Fault(reason, "DENIED", passing=False, applied=False)
    if isinstance(reason, driver.AuthenticationError | driver.AuthorizationError):
        code = "NOAUTH" if "required" in str(reason) else "WRONGPASS"
        return Fault(reason, code, passing=False, applied=False)
    if reason is not error:
        is_redis = not isinstance(reason, driver.InvalidResponse)
        code = (_code_of(reason) or "ERR") if is_redis else "PROTOCOL"
        return Fault(reason, code, passing=False, applied=False)
    if isinstance(error, driver.BusyLoadingError):
        return Fault(error, "LOADING", passing=True, applied=False)
    if isinstance(error, driver.ResponseError):
        code = _code_of(error) or "ERR"
        passing = code in _PASSING_CODES or (fails_over and code in _PASSING_WITH_FAILOVER)
        half_way = "script" in str(error) and not (
            passing or code in _NOTHING_WRITTEN or "DIRCORRUPT" in str(error)
        )
        return Fault(error, code, passing=passing, applied=half_way, half_way=half_way)
    if isinstance(error, driver.DataError | UnicodeError):
        return Fault(error, "ERR", passing=False, applied=False)
    if isinstance(error, driver.InvalidResponse):
        return Fault(error, "PROTOCOL", passing=False, applied=True)
    return Fault(error, "", passing=True, applied=not _never_sent(error))


def _reason_of(error: Exception) -> Exception:
    """Why those through whom a server is found refused to tell, which their clients wrap up."""
    if isinstance(error, MasterNotFoundError | driver.RedisClusterException):
        for cause in causes(error):
            if is_denied(cause) or isinstance(
                cause,
                driver.AuthenticationError
                | driver.AuthorizationError
                | driver.NoPermissionError
                | driver.InvalidResponse,
            ):
                return cause
            if isinstance(cause, driver.ResponseError) and _kind_advice(cause):
                return cause
    return error


def _kind_advice(error: Exception) -> str:
    """What to do where a server, a Sentinel or a node of a cluster took the place of another."""
    found = (advice for said, advice in _OF_ANOTHER_KIND if re.search(said, str(error), re.I))
    return next(found, "")


def is_denied(error: BaseException) -> TypeGuard[driver.ResponseError]:
    """Whether a server said that it is in protected mode, and closed the connection."""
    return isinstance(error, driver.ResponseError) and str(error).startswith("DENIED ")


def explain(
    fault: Fault,
    *,
    operation: str,
    keys: tuple[str, ...],
    where: str,
    write: bool,
    maybe_applied: bool,
) -> StorageError:
    """Turn the last fault of an operation into the error its caller gets.

    Args:
        fault: what the last attempt met.
        operation: the script or command, for the message.
        keys: its keys, to name a corrupt one.
        where: the server, without secrets.
        write: whether it changes anything.
        maybe_applied: whether it is a write of which an attempt may have gone through.
    """
    text = str(fault.error)
    own = [key for key in keys if "}:op:" not in key]
    more = [f"{len(own) - _MOST_KEYS} more"] if len(own) > _MOST_KEYS else []
    records = " or ".join([*own[:_MOST_KEYS], *more])
    if isinstance(fault.error, UnicodeDecodeError):
        return CorruptRecordError(records, f"it should hold UTF-8 ({text})")
    if fault.code == "DENIED":
        text = text.partition(" because ")[0]  # what follows is a page of advice
    corrupt = _CORRUPT.search(text)
    if corrupt:
        return CorruptRecordError(
            keys[int(corrupt[1]) - 1], "its content is not what belongs there"
        )
    if fault.code == "WRONGTYPE":
        return CorruptRecordError(records, "its type is not the one that belongs there")
    if fault.code == _TLS and not maybe_applied:
        node = _CONNECTING_TO.search(text)  # of a cluster or a service not all are in the URL
        at = f" at {node[1]}" if node and node[1] not in where else ""
        return StorageConfigurationError(f"no TLS with {where}{at}: {tls_refusal(fault.error)}")
    if fault.code and not fault.passing and not maybe_applied:
        advice = _ADVICE.get(fault.code) or _kind_advice(fault.error)
        reason = f"{advice} ({text[:_LONGEST_CAUSE]})" if advice else text
        return StorageRefusedError(f"{where} refused {operation}: {reason}", code=fault.code)
    if write and fault.half_way:
        return StorageUnavailableError(
            f"{where} cut {operation} off half-way: {text[:_LONGEST_CAUSE].rstrip('.')}; what it "
            "had written stays, and verify_store names what is missing",
            outcome_unknown=True,
            half_written=True,
        )
    outcome = ""
    if write:
        outcome = (
            "; it may or may not have been applied" if maybe_applied else "; nothing was applied"
        )
    if isinstance(fault.error, MasterNotFoundError):
        text = text.partition(" : ")[0]  # what follows is the state of every connection
    cause = (
        _ADVICE.get(fault.code)
        or tls_trouble(fault.error)
        or text[:_LONGEST_CAUSE].rstrip(".")
        or type(fault.error).__name__
    )
    if operation == ON_OPENING and not fault.code and _was_closed(fault.error):
        cause += f" ({_CLOSED_AT_ONCE})"
    return StorageUnavailableError(
        f"{where} did not answer {operation}: {cause.rstrip('.')}{outcome}",
        outcome_unknown=maybe_applied,
    )


def wait_error(
    error: Exception, *, operation: str, keys: tuple[str, ...], where: str
) -> StorageError | None:
    """The error to raise for a blocking command that failed; None if it is worth another look.

    A server that becomes a replica, or is told to, ends all waits with UNBLOCKED.

    Args:
        error: what the driver raised.
        operation: the command, for the message.
        keys: its keys, to name a corrupt one.
        where: the server, without secrets.
    """
    if "UNBLOCKED" in str(error):
        return None
    fault = diagnose(error, fails_over=True, single_attempt=True)
    if fault.passing:
        return None
    return explain(
        fault, operation=operation, keys=keys, where=where, write=False, maybe_applied=False
    )


def _code_of(error: Exception) -> str:
    """The server's error code, also from inside the generic script error of Redis 6.2."""
    if "can't run this command" in str(error):  # a script met a command its user may not run
        return "NOPERM"
    for kind, code in _CODES_OF_CLASSES:
        if isinstance(error, kind):
            return code
    return next((code for code in _CODE.findall(f"{error} ") if code in _KNOWN_CODES), "")


def _was_closed(error: BaseException) -> bool:
    """Whether the other side ended the connection."""
    return any(
        isinstance(cause, BrokenPipeError | ConnectionResetError | ssl.SSLEOFError)
        or "Connection closed" in str(cause)
        for cause in causes(error)
    )


def _never_sent(error: BaseException) -> bool:
    """Whether the connection could not even be made, so that nothing was sent."""
    return any(isinstance(cause, _NO_CONNECTION) for cause in causes(error))
