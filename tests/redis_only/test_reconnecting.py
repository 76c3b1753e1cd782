"""Servers that restart, come up late, or forget their scripts: nobody notices."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dir_redis import (
    open_storage,
)
from dir_redis.embedded import ServerProcess, valkey_binary
from dir_redis.redis.connection import connect
from tests.redis_only.conftest import works
from tests.servers import free_ports, wait_until


def test_a_server_that_comes_up_while_a_store_is_opened_is_waited_for(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    url = f"redis://127.0.0.1:{port}"
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as stack:
        opening = pool.submit(open_storage, url)
        running = ServerProcess(valkey_binary(), arguments, url=url, folder=tmp_path)
        stack.callback(running.stop)
        with opening.result() as bundle:
            assert works(bundle)


def test_nobody_notices_that_a_server_forgot_its_scripts(server_url: str, namespace: str) -> None:
    client: Any = connect(server_url, attempt_timeout_sec=5).client
    with open_storage(server_url, namespace=namespace, partitions=5) as bundle:
        for number in range(20):
            client.script_flush()
            bundle.decision_audit.record(f"f{number}", "E")
        assert len(bundle.decision_audit.all_events_chronological()) == 20
    client.close()


@pytest.mark.opened_as_it_is
def test_a_restarted_server_is_reached_again(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    (port,) = free_ports(1)
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", *durable]
    url = f"redis://127.0.0.1:{port}"
    folder.mkdir()
    running = ServerProcess(valkey_binary(), arguments, url=url, folder=folder)
    with open_storage(url) as bundle:
        bundle.decision_audit.record("f", "BEFORE")
        running.kill()
        running = ServerProcess(valkey_binary(), arguments, url=url, folder=folder)
        bundle.decision_audit.record("f", "AFTER")

        rows = bundle.decision_audit.events_for_dfid("f")
    running.stop()

    assert [row["event"] for row in rows] == ["BEFORE", "AFTER"]


def test_a_driver_connection_that_broke_is_replaced(servers: Any, namespace: str) -> None:
    with open_storage(servers.url("valkey"), namespace=namespace) as bundle:
        bundle.decision_audit.record("f", "BEFORE")
        with connect(servers.url("valkey"), attempt_timeout_sec=5).client as admin:
            for other in admin.client_list():
                if int(other["id"]) != admin.client_id():
                    admin.client_kill_filter(_id=other["id"])
            wait_until(lambda: len(admin.client_list()) == 1, 5)

        bundle.decision_audit.record("f", "AFTER")

        rows = bundle.decision_audit.events_for_dfid("f")
    assert [row["event"] for row in rows] == ["BEFORE", "AFTER"]
