"""What a caller is dealing with already says nothing about what its call meets."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dir_redis import StorageUnavailableError, open_storage
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.redis_only.test_once import SINGLE_SERVERS


@pytest.fixture
def proxy(servers: Any) -> Iterator[FaultProxy]:
    with fault_proxy(servers.url(SINGLE_SERVERS[0])) as running:
        yield running


def test_a_lost_reply_leaves_the_outcome_unknown_though_a_broker_refused_a_connection(
    proxy: FaultProxy, namespace: str
) -> None:
    with open_storage(proxy.url, namespace=namespace, timeout_sec=0.2) as bundle:
        bundle.decision_audit.record("f", "E")
        proxy.lose_replies(10_000, to=b"EVAL")
        try:
            raise ConnectionRefusedError("the broker")
        except ConnectionRefusedError:
            with pytest.raises(StorageUnavailableError) as caught:
                bundle.decision_audit.record("f", "ORDER_FAILED")

    assert caught.value.outcome_unknown


def test_a_lost_reply_is_retried_though_another_servers_certificate_was_wrong(
    proxy: FaultProxy, namespace: str
) -> None:
    with open_storage(proxy.url, namespace=namespace) as bundle:
        bundle.intent_retry.increment("f")
        proxy.lose_replies(2, to=b"EVALSHA")
        try:
            raise ssl.SSLCertVerificationError("the broker's")
        except ssl.SSLCertVerificationError:
            assert bundle.intent_retry.increment("f").count == 2


def test_a_wait_that_is_cut_goes_on_though_another_servers_certificate_was_wrong(
    proxy: FaultProxy, namespace: str
) -> None:
    with open_storage(proxy.url, namespace=namespace) as bundle:
        claim = bundle.idempotency.claim("k", lease_sec=60, owner="me")
        proxy.lose_requests(1, to=b"XREAD")
        completing = threading.Timer(0.2, bundle.idempotency.complete, (claim, 7))
        completing.start()
        try:
            raise ssl.SSLCertVerificationError("the broker's")
        except ssl.SSLCertVerificationError:
            assert bundle.idempotency.wait("k", 30).result == 7
        completing.join(30)
