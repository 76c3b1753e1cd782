"""The user that `acl` describes can do all that a store does in its namespace, and nothing else."""

from __future__ import annotations

import ast
import hashlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from dir_redis import StorageBundle, acl, open_storage, verify_store
from dir_redis.embedded import valkey_binary
from dir_redis.migrate import copy_store
from dir_redis.redis.acl import CLUSTER, DATABASE, DISK, MIGRATE, REPLICAS, SETTINGS, STORE
from dir_redis.redis.connection import connect
from tests.conftest import CLUSTER_PARTITIONS
from tests.least_privilege import (
    PASSWORD,
    allow,
    nodes_of,
    restrict_every_store,
    restricted_url,
    url_of,
)
from tests.redis_only.conftest import works
from tests.redis_only.test_costs import READS
from tests.redis_only.test_once import WRITES
from tests.security.sentinel_server import SERVICE, sentinel
from tests.servers import server, wait_until

ROOT = Path(__file__).parents[2]
EVERY = {*STORE, *CLUSTER, *DATABASE, *DISK, *REPLICAS, *SETTINGS, *MIGRATE}


# What the line says


def test_the_line_is_this() -> None:
    assert acl("fleet", user="app", password="s3cret") == (
        "user app reset on #1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0 "
        "resetchannels ~{fleet:* -@all +blpop +del +eval +evalsha +exists +get +hdel +hget "
        "+hgetall +hincrby +hkeys +hlen +hmget +hset +hvals +incr +info +lindex +llen +lrange "
        "+ltrim +persist +pexpire +pttl +rpush +set +strlen +time +xadd +xinfo|stream +xlen "
        "+xrange +xread +xrevrange +xtrim +zadd +zcard +zcount +zrange +zrangebylex "
        "+zrangebyscore +zrem +zrevrange +zscore +zunionstore"
    )


@pytest.mark.parametrize(
    ("wanted", "more"),
    [
        ({"cluster": True}, "+asking +cluster|slots +command"),
        ({"database": 3}, "+select"),
        ({"durability": "disk"}, "+waitaof"),
        ({"durability": "replicas=2"}, "+wait"),
        ({"read_config": True}, "+config|get"),
        ({"migrate": True}, "+hexists +hscan +lpos +pexpireat +scan +type +zscan"),
    ],
    ids=str,
)
def test_what_else_is_wanted_adds_its_commands(wanted: Any, more: str) -> None:
    assert set(acl(**wanted).split()) - set(acl().split()) == set(more.split())


def test_the_password_is_in_no_line() -> None:
    assert "hunter2" not in acl(password="hunter2")
    assert hashlib.sha256(b"hunter2").hexdigest() in acl(password="hunter2")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"namespace": "a:*"}, "namespace"),
        ({"namespace": "*"}, "namespace"),
        ({"namespace": "a +@all"}, "namespace"),
        ({"user": "a +@all"}, "user"),
        ({"user": ""}, "user"),
        ({"user": "a\n"}, "user"),
        ({"password": ""}, "password"),
        ({"durability": "always"}, "durability"),
        ({"database": -1}, "database"),
    ],
    ids=str,
)
def test_what_could_become_another_rule_is_refused(arguments: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        acl(**arguments)


# What the source sends


def words_of_scripts() -> set[str]:
    scripts = [re.sub(r"--.*", "", path.read_text()) for path in (ROOT / "lua").rglob("*.lua")]
    return {word for text in scripts for word in re.findall(r"'([A-Z]+)'", text)}


def words_of_source() -> set[str]:
    package = ROOT / "src" / "dir_redis"
    folders = ("redis", "migrate", "verify")
    paths = [path for folder in folders for path in (package / folder).glob("*.py")]
    trees = [ast.parse(path.read_text()) for path in paths if path.name != "acl.py"]
    return {
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_the_list_holds_what_the_source_names_and_nothing_else(servers: Any) -> None:
    with connect(servers.url("valkey"), attempt_timeout_sec=5).client as client:
        known = {name.upper() for name in client.command()}
    # An error's code, a level of logging, and the name of a client, which may be refused.
    known -= {"READONLY", "DEBUG", "CLIENT"}
    # The driver's own methods, and what only the driver sends.
    methods = {"CONFIG": "config_get", "INFO": "info"}
    connection = (ROOT / "src/dir_redis/redis/connection.py").read_text()
    assert all(f".{method}(" in connection for method in methods.values())
    of_the_driver = {"CLUSTER", "COMMAND", "SELECT"}

    named = {name.partition("|")[0] for name in EVERY} - of_the_driver
    assert (words_of_scripts() | words_of_source() | set(methods)) & known == named


def test_the_pages_name_no_commands_of_their_own() -> None:
    backends = (ROOT / "docs" / "backends.md").read_text()

    assert "dir_redis.acl" in backends
    assert "ZRANGEBYLEX" not in backends


# What that user can do


@pytest.fixture
def restricted(server_url: str, real_server: str, namespace: str) -> Iterator[StorageBundle]:
    """A store on each real server, opened as the user."""
    partitions = CLUSTER_PARTITIONS if real_server == "cluster" else None
    url = restricted_url(server_url, namespace)
    with open_storage(url, namespace=namespace, partitions=partitions) as bundle:
        yield bundle


@pytest.mark.parametrize("name", {**READS, **WRITES})
def test_every_operation_works(restricted: StorageBundle, name: str) -> None:
    for write in WRITES.values():
        write(restricted)

    {**READS, **WRITES}[name](restricted)


def test_what_takes_several_steps_works(restricted: StorageBundle) -> None:
    ledger = restricted.decision_ledger
    assert restricted.idempotency.run_once("k", lambda _: 5) == 5
    WRITES["append"](restricted)
    assert ledger.verify_ledger().verified == 1  # type: ignore[attr-defined]
    assert restricted.decision_audit.verify_audit().intact
    restricted.decision_audit.record("f", "E")
    restricted.decision_audit.commit_archived("g", "")
    restricted.decision_audit.forget_group("g")
    assert restricted.decision_audit.trim(max_rows=0) == 1


def test_a_chained_log_works(server_url: str, namespace: str) -> None:
    url = restricted_url(server_url, namespace)
    with open_storage(url, namespace=namespace, audit_chain=True) as bundle:
        bundle.decision_audit.record_many([{"dfid": "f", "event": "E"}] * 3)
        bundle.lifecycle.close_flow("f", "CLOSED")
        assert bundle.decision_audit.verify_audit().verified == 4


def test_waits_are_woken(restricted: StorageBundle) -> None:
    """BLPOP for reservations, XREAD for the log, results and decisions."""
    locks = restricted.resource_lock
    held = locks.reserve("f", {"r": 1}, lease_sec=60)
    log = restricted.decision_audit.follow(timeout_sec=30)
    claim = restricted.idempotency.claim("k", lease_sec=60, owner="me")
    got: dict[str, Any] = {}
    waits = {
        "reservation": lambda: locks.reserve("g", {"r": 1}, wait_sec=30, capacities={"r": 1}),
        "row": lambda: next(log)["event"],
        "result": lambda: restricted.idempotency.wait("k", 30).result,
    }
    threads = [
        threading.Thread(target=lambda what=what, wait=wait: got.update({what: wait()}))
        for what, wait in waits.items()
    ]
    for thread in threads:
        thread.start()
    restricted.decision_audit.record("f", "E")
    restricted.idempotency.complete(claim, 7)
    held.release()
    for thread in threads:
        thread.join(30)

    assert (got["row"], got["result"], got["reservation"].dfid) == ("E", 7, "g")


def test_nothing_but_what_is_documented_was_refused(server_url: str, namespace: str) -> None:
    """The client's own name, which it offers; settings, which opening asks for where it may."""
    with connect(server_url, attempt_timeout_sec=5).client as admin:
        for node in nodes_of(admin):
            node.acl_log_reset()
        allow(admin, namespace, user=namespace)
        with open_storage(url_of(server_url, namespace), namespace=namespace) as bundle:
            for call in (*WRITES.values(), *READS.values()):
                call(bundle)
        entries = [entry for node in nodes_of(admin) for entry in node.acl_log()]

    refused = {entry["object"] for entry in entries if entry["username"] == namespace}
    assert refused <= {"client", "config", "client|setinfo", "config|get"}


def test_a_namespace_is_copied_by_the_rules_for_that(server_url: str, namespace: str) -> None:
    source = restricted_url(server_url, namespace, migrate=True)
    with open_storage(source, namespace=namespace) as old:
        for write in WRITES.values():
            write(old)
        with connect(server_url, attempt_timeout_sec=5).client as admin:
            allow(admin, f"{namespace}-new", user="new", migrate=True)
        target = url_of(server_url, "new")
        with open_storage(target, namespace=f"{namespace}-new") as new:
            assert copy_store(old, new).complete


def test_a_namespace_is_verified_by_the_rules_for_that(server_url: str, namespace: str) -> None:
    with open_storage(
        restricted_url(server_url, namespace, migrate=True), namespace=namespace
    ) as bundle:
        for write in WRITES.values():
            write(bundle)

        report = verify_store(bundle)

    assert report.clean, report.findings


def test_a_sentinel_service_is_reached_by_users_of_few_rights(
    tmp_path: Path, namespace: str
) -> None:
    with server(valkey_binary(), tmp_path / "primary") as primary:
        port = int(primary.url.rpartition(":")[2])
        with sentinel(tmp_path / "sentinel", port) as watching:
            with connect(watching, attempt_timeout_sec=5).client as admin:
                rules = ("on", f">{PASSWORD}", "-@all", "+sentinel|masters")
                admin.execute_command("ACL", "SETUSER", "watcher", *rules)
            plain = f"{watching.replace('redis', 'redis+sentinel')}/{SERVICE}"
            url = restricted_url(plain, namespace)
            login = f"sentinel_username=watcher&sentinel_password={PASSWORD}"
            with open_storage(f"{url}?{login}", namespace=namespace) as bundle:
                for call in (*WRITES.values(), *READS.values()):
                    call(bundle)


@pytest.mark.parametrize("durability", ["disk", "replicas=1"])
def test_a_write_is_confirmed(tmp_path: Path, durability: str) -> None:
    directives = ("--appendonly", "yes")
    with server(valkey_binary(), tmp_path / "primary", *directives) as primary:
        port = primary.url.rpartition(":")[2]
        replica = ("--replicaof", "127.0.0.1", port)
        with (
            server(valkey_binary(), tmp_path / "replica", *replica),
            connect(primary.url, attempt_timeout_sec=5).client as admin,
        ):
            info = admin.info
            wait_until(lambda: info("replication").get("slave0", {}).get("state") == "online", 30)
            url = restricted_url(primary.url, "dir", durability=durability)
            with open_storage(url, durability=durability) as bundle:
                assert bundle.intent_retry.increment("f").count == 1


def test_the_mode_of_the_whole_suite_restricts_every_store(server_url: str, namespace: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        restrict_every_store(patch)
        with open_storage(server_url, namespace=namespace) as bundle:
            assert works(bundle)
            client = bundle.context._driver._connection.client  # type: ignore[attr-defined]
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.get(f"{{{namespace}2:0}}:meta")
            assert bundle.url == server_url
