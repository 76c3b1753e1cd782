"""What each failed attempt means: worth another, possibly applied, and what the caller is told."""

from __future__ import annotations

import pickle
import time
from decimal import Decimal
from typing import Any

import pytest
import redis
from redis import exceptions as driver

from dir_redis import (
    CorruptRecordError,
    InsufficientCapacityError,
    StorageRefusedError,
    StorageUnavailableError,
    open_storage,
    redis_storage,
)
from dir_redis.redis.connection import connect
from dir_redis.redis.faults import diagnose
from dir_redis.redis.retries import until_answered
from tests.fault_proxy import FaultProxy, fault_proxy


def refused_connection() -> Exception:
    error = driver.ConnectionError("Error 111 connecting")
    error.__cause__ = ConnectionRefusedError()
    return error


def attempt(*outcomes: Any, **options: Any) -> Any:
    """What a write gets whose attempts have these outcomes, one after the other."""
    left = list(outcomes)

    def send() -> Any:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    settings = {"fails_over": False, "single_attempt": True, "write": True, **options}
    return until_answered(
        send,
        operation="op",
        keys=("{n:0}:k",),
        where="here",
        deadline=time.monotonic() + 0.05,
        **settings,
    )


LOST = driver.ConnectionError("Connection closed by server.")
PASSING = [
    driver.BusyLoadingError("Redis is loading the dataset in memory"),
    driver.ResponseError("BUSY Redis is busy running a script."),
    driver.TimeoutError("Timeout reading from socket"),
    driver.MaxConnectionsError("Too many connections"),
    driver.ClusterDownError("CLUSTERDOWN The cluster is down"),
    driver.TryAgainError("TRYAGAIN Multiple keys request during rehashing of slot"),
    refused_connection(),
    LOST,
    ConnectionResetError(),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_what_passes_is_tried_again(error: Exception) -> None:
    assert attempt(error, error, "answer") == "answer"


@pytest.mark.parametrize(
    "error",
    [
        driver.ReadOnlyError("You can't write against a read only replica."),
        driver.MovedError("1 h:2"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_failover_mends_is_tried_again_only_where_there_is_one(error: Exception) -> None:
    assert attempt(error, "answer", fails_over=True) == "answer"
    with pytest.raises(StorageRefusedError):
        attempt(error, "answer", fails_over=False)


@pytest.mark.parametrize("error", [LOST, driver.TimeoutError("Timeout")])
def test_a_write_that_was_sent_and_not_answered_is_of_unknown_outcome(error: Exception) -> None:
    with pytest.raises(StorageUnavailableError) as caught:
        attempt(error)

    assert caught.value.outcome_unknown
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [refused_connection(), driver.BusyLoadingError("loading"), PASSING[1]]
)
def test_a_write_that_was_never_taken_is_known_not_to_be_applied(error: Exception) -> None:
    with pytest.raises(StorageUnavailableError) as caught:
        attempt(error)

    assert not caught.value.outcome_unknown


@pytest.mark.parametrize("later", [refused_connection(), PASSING[0], PASSING[1]])
def test_an_unknown_outcome_stays_unknown_whatever_later_attempts_meet(later: Exception) -> None:
    with pytest.raises(StorageUnavailableError) as caught:
        attempt(LOST, later)

    assert caught.value.outcome_unknown


def test_a_refusal_after_an_unknown_outcome_does_not_make_it_known() -> None:
    with pytest.raises(StorageUnavailableError) as caught:
        attempt(LOST, driver.OutOfMemoryError("OOM command not allowed"))

    assert caught.value.outcome_unknown


@pytest.mark.parametrize("error", [refused_connection(), PASSING[0], PASSING[1]])
def test_a_client_that_retries_within_a_call_leaves_the_outcome_unknown(error: Exception) -> None:
    with pytest.raises(StorageUnavailableError) as caught:
        attempt(error, single_attempt=False)

    assert caught.value.outcome_unknown


def test_a_script_cut_off_half_way_is_of_unknown_outcome() -> None:
    error = driver.ResponseError(
        "ERR The user executing the script can't run this command or subcommand script: abc"
    )
    with pytest.raises(StorageUnavailableError) as caught:
        attempt(error)

    assert caught.value.outcome_unknown


@pytest.mark.parametrize("code", ["OOM", "MISCONF", "NOREPLICAS", "READONLY"])
def test_the_code_is_found_inside_the_generic_script_error_of_redis_6_2(code: str) -> None:
    error = driver.ResponseError(
        f"Error running script (call to f_{'a' * 40}): @user_script:9: @user_script: 9: -{code} no"
    )
    with pytest.raises(StorageRefusedError) as caught:
        attempt(error)

    assert caught.value.code == code


def test_a_read_is_never_of_unknown_outcome() -> None:
    with pytest.raises(StorageUnavailableError) as caught:
        attempt(LOST, write=False)

    assert not caught.value.outcome_unknown


@pytest.mark.parametrize(
    "error",
    [
        StorageUnavailableError("gone", outcome_unknown=True),
        StorageRefusedError("no", code="OOM"),
        CorruptRecordError("{n:0}:k", "garbage"),
        InsufficientCapacityError("r", Decimal(2), Decimal(1)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_cross_process_boundaries_whole(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.fixture
def proxy(servers: Any) -> Any:
    with fault_proxy(servers.url("valkey")) as running:
        yield running


def test_a_ready_client_whose_reconnect_is_refused_leaves_the_outcome_unknown(
    proxy: FaultProxy, namespace: str, servers: Any
) -> None:
    """Its own retry meets a refused connection after the write was applied."""
    port = int(proxy.url.rpartition(":")[2])
    with redis.Redis("127.0.0.1", port) as client:
        bundle = redis_storage(client, namespace=namespace, timeout_sec=0.1)
        bundle.decision_audit.record("f", "LOADS THE SCRIPT")
        proxy.lose_replies(1, to=b"EVALSHA")
        proxy.refuse_connections()

        with pytest.raises(StorageUnavailableError) as caught:
            bundle.decision_audit.record("f", "PAID")

    assert caught.value.outcome_unknown
    with open_storage(servers.url("valkey"), namespace=namespace) as direct:
        assert len(direct.decision_audit.events_for_dfid("f")) == 2


def test_a_demoted_server_is_left_once_its_address_leads_to_another(
    proxy: FaultProxy, namespace: str
) -> None:
    with open_storage(proxy.url, namespace=namespace) as bundle:
        bundle.decision_audit.record("f", "E")
        with connect(proxy.url, attempt_timeout_sec=5).client as admin:
            connections = {one["id"] for one in admin.client_list()}
            driver_: Any = bundle.context._driver  # type: ignore[attr-defined]
            execute = driver_._execute_command
            driver_._execute_command = lambda *_: (_ for _ in ()).throw(driver.ReadOnlyError("x"))
            with pytest.raises(StorageRefusedError):
                bundle.decision_audit.record("f", "E")
            driver_._execute_command = execute

            bundle.decision_audit.record("f", "E")

            assert {one["id"] for one in admin.client_list()} != connections


def test_a_client_that_retries_by_itself_and_then_may_not_log_in_leaves_the_outcome_unknown() -> (
    None
):
    """Its first try may have been applied before the password was changed."""
    error = driver.AuthenticationError("invalid username-password pair")

    assert diagnose(error, fails_over=False, single_attempt=False).applied
    assert not diagnose(error, fails_over=False, single_attempt=True).applied
