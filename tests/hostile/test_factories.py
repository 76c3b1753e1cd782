"""Hostile values for what opens, copies and shares stores: refused by name, and nothing is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dir_redis import (
    AuditStore,
    MemoryContextStorage,
    SqliteContextStorage,
    StorageBundle,
    StorageError,
    memory_storage,
    open_storage,
    redis_storage,
    sqlite_storage,
)
from dir_redis.migrate import copy_store
from dir_redis.redis.store import RedisOptions
from tests.hostile.values import HOSTILE, HostileError, LyingStr, RaisingStr

REFUSALS = (ValueError, TypeError, StorageError, HostileError)
# Names that would open something elsewhere: a file of that name, or the server of this machine.
NO_URLS = [
    "",
    "localhost",
    "\ud800",
    "a\0b",
    "redis://\ud800",
    "redis://a\0b",
    "redis://[",
    "redis://",
]
URLS = [
    *("redis://localhost:99999", "redis://localhost:-1", "redis://\r\nFLUSHALL", "redis://h:1/\r\n"),
    *("redis://h/999999999999999999999", "redis+sentinel://,/s", "redis+cluster://,", "sqlite:///"),
    *("redis://u:p@h:1?db=\ud800", "unix://", "unix://\0", "embedded://\ud800", "redis://h?db=x"),
    *("://", "memory:///", "rediss://h?ssl_cert_reqs=x", "redis://%"),
    *("redis://h:1?socket_timeout=nan", "redis://h:1?health_check_interval=x"),
    "redis://" + "x" * 70_000,
]  # fmt: skip


@pytest.mark.parametrize("option", RedisOptions.__annotations__)
def test_an_option_takes_what_it_allows_or_names_itself(option: str, namespace: str) -> None:
    for make in HOSTILE:
        value = make()
        options: Any = {"namespace": namespace, "timeout_sec": 1, option: value}
        refused: Exception | None = None
        try:
            with redis_storage("fakeredis://", **options) as bundle:
                bundle.context.set_session("f", "{}")
                assert bundle.context.get_session("f") == "{}"
        except (ValueError, TypeError, StorageError, HostileError) as error:
            refused = error
        if isinstance(refused, StorageError):
            assert option == "durability"
        elif refused is not None and not isinstance(refused, HostileError):
            assert option in str(refused)


@pytest.mark.parametrize("url", [*NO_URLS[:-1], *URLS], ids=ascii)
def test_a_url_that_no_store_has_is_a_typed_error(url: str) -> None:
    with pytest.raises((ValueError, TypeError, StorageError)):
        open_storage(url, timeout_sec=0.05)


@pytest.mark.parametrize(
    "open_with",
    [
        lambda value, _: open_storage(value, timeout_sec=0.05),
        lambda value, _: redis_storage(value, timeout_sec=0.05),
        lambda value, _: memory_storage(amount_places=value).resource_lock.set_capacity("r", 1),
        lambda value, _: memory_storage(audit_chain=value).close(),
        lambda value, path: sqlite_storage(path / "x.db", amount_places=value).close(),
        lambda value, path: sqlite_storage(path / "y.db", audit_chain=value).close(),
        lambda value, path: SqliteContextStorage(path / "z.db", max_id_bytes=value).close(),
        lambda value, _: MemoryContextStorage(max_document_bytes=value).set_session("f", "{}"),
        lambda value, _: memory_storage().durable(value),
        lambda value, _: copy_store(value, memory_storage()),
        lambda value, _: copy_store(memory_storage(), value),
        lambda value, _: copy_store(memory_storage(), memory_storage(), progress=value),
        lambda value, _: saved(value, "f", {}),
        lambda value, _: saved("k", value, {}),
        lambda value, _: saved("k", "f", value),
    ],
    ids=[
        *("open_storage", "redis_storage", "memory-places", "memory-chain", "sqlite-places"),
        *("sqlite-chain", "sqlite-limit", "memory-limit", "durable", "copy-source", "copy-target"),
        *("copy-progress", "saved-key", "saved-dfid", "saved-result"),
    ],
)
def test_a_hostile_value_is_taken_or_refused(
    open_with: Callable[[Any, Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIR_REDIS_URL", raising=False)
    for make in HOSTILE:
        value = make()
        try:
            opened = open_with(value, tmp_path)
        except REFUSALS:
            continue
        if isinstance(opened, StorageBundle):
            opened.close()


def saved(key: Any, dfid: Any, result: Any) -> None:
    bundle = memory_storage()
    AuditStore(bundle.decision_audit, bundle.idempotency).save_idempotent_result(key, dfid, result)


def test_a_name_of_a_file_is_taken_as_it_is_or_refused(tmp_path: Path) -> None:
    for number, text in enumerate(["a b", "é", "%s", "x" * 300, "a\0b", "\ud800", "", ".", "\r\n"]):
        try:
            sqlite_storage(tmp_path / str(number) / text).close()
        except (ValueError, StorageError):
            continue
    for wrong in (None, 7, b"x.db", RaisingStr("x"), LyingStr("")):
        with pytest.raises((TypeError, ValueError, StorageError, HostileError)):
            sqlite_storage(wrong)  # type: ignore[arg-type]
