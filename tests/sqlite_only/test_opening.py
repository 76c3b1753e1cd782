"""What opens, what is refused and why, and who closes."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from dir_redis import (
    NamespaceMismatchError,
    SqliteContextStorage,
    SqliteResourceLockStorage,
    SqliteSagaStorage,
    StorageConfigurationError,
    StorageError,
    ensure_db,
    sqlite_storage,
)
from dir_redis.sqlite.database import SqliteDatabase


def test_parent_folders_are_made_and_the_url_names_the_file(tmp_path):
    with sqlite_storage(tmp_path / "a" / "b" / "store.db") as bundle:
        bundle.saga.mark_dirty("flow", "pay", "{}")
    assert (tmp_path / "a" / "b" / "store.db").is_file()
    assert bundle.url == f"sqlite:///{(tmp_path / 'a' / 'b' / 'store.db').resolve()}"


def test_records_are_there_when_the_file_is_opened_again(path):
    with sqlite_storage(path) as bundle:
        bundle.resource_lock.acquire_batch("flow", {"capital": 1.5}, 1)
        bundle.resource_lock.set_capacity("capital", 10)
    with sqlite_storage(path) as bundle:
        assert bundle.resource_lock.get_locked_amount("capital", exclude_dfid="other") == 1.5
        assert bundle.resource_lock.get_capacity("capital") == 10


def test_a_storage_opens_and_closes_a_file_of_its_own(path):
    storage = SqliteSagaStorage(str(path))
    storage.init_schema()
    storage.mark_dirty("flow", "pay", "{}")
    storage.close()
    storage.close()
    with pytest.raises(StorageError, match="was closed"):
        storage.get_dirty_flows()


def test_a_shared_database_outlives_the_storages_on_it(path):
    database = SqliteDatabase(path)
    SqliteSagaStorage(database).close()
    context = SqliteContextStorage(database)
    context.set_state("agent", "{}")
    assert context.get_state("agent") == "{}"
    database.close()


def test_other_bytes_are_refused_and_left_alone(path):
    path.write_bytes(b"a diary, not a database. " * 100)
    with pytest.raises(StorageConfigurationError, match="not a database"):
        sqlite_storage(path)
    assert path.read_bytes() == b"a diary, not a database. " * 100


def test_a_path_that_cannot_be_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "store.db", ":memory:"):
        with pytest.raises(StorageConfigurationError):
            sqlite_storage(path)


def test_a_file_of_dir_core_0_2_or_later_is_refused_by_name(path, raw):
    raw("CREATE TABLE decision_flows (dfid TEXT PRIMARY KEY, root_dfid TEXT NOT NULL)")
    raw("CREATE TABLE flow_context (dfid TEXT PRIMARY KEY REFERENCES decision_flows (dfid))")
    raw("CREATE TABLE idempotency_cache (idempotency_key TEXT PRIMARY KEY, result JSON)")
    with pytest.raises(StorageConfigurationError, match="copy_store") as refused:
        sqlite_storage(path)
    assert str(path) in str(refused.value)
    assert "dir-core 0.2 or later" in str(refused.value)
    assert len(raw("SELECT name FROM sqlite_master WHERE type = 'table'")) == 3


def test_another_programs_table_of_the_same_name_is_refused(path, raw):
    raw("CREATE TABLE intent_retry (id INTEGER PRIMARY KEY)")
    with pytest.raises(StorageConfigurationError, match="intent_retry has no column dfid"):
        sqlite_storage(path)


def test_another_programs_other_tables_are_welcome(path, raw):
    raw("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    with sqlite_storage(path) as bundle:
        assert bundle.saga.get_dirty_flows() == []


@pytest.mark.usefixtures("store")
def test_a_file_of_a_newer_version_is_refused(path, raw):
    raw("UPDATE dir_redis_meta SET value = value + 1 WHERE name = 'schema_version'")
    with pytest.raises(NamespaceMismatchError, match="schema version 4; this package knows 3"):
        sqlite_storage(path)


@pytest.mark.usefixtures("store")
def test_another_scale_is_refused(path):
    with pytest.raises(NamespaceMismatchError, match="8 decimal places, not 2"):
        sqlite_storage(path, amount_places=2)
    with pytest.raises(NamespaceMismatchError):
        SqliteResourceLockStorage(path, amount_places=9)


def test_the_scale_is_fixed_by_the_first_storage_that_has_one(path):
    SqliteSagaStorage(path).close()
    SqliteResourceLockStorage(path, amount_places=2).close()
    with pytest.raises(NamespaceMismatchError, match="2 decimal places, not 8"):
        SqliteResourceLockStorage(path)


@pytest.mark.parametrize("old", [False, True], ids=["new file", "file of dir-core 0.1.0"])
def test_eight_processes_open_a_file_at_once(request, path, at_once, old):
    if old:
        request.getfixturevalue("old_file")
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executemany(
                "INSERT INTO resource_locks (dfid, resource_id, amount) VALUES (?, 'old', 0.1)",
                [(str(number),) for number in range(1000)],
            )
    at_once(
        "with sqlite_storage(path) as store:\n"
        "    assert store.resource_lock.acquire_batch(f'new {number}', {'new': 0.1}, 60)\n",
        processes=8,
    )
    with sqlite_storage(path) as store:
        locked = store.resource_lock.get_locked_amount
        assert locked("old", exclude_dfid="nobody") == (100.0 if old else 0.0)
        assert locked("new", exclude_dfid="nobody") == 0.8


def test_commits_are_durable_and_readers_do_not_wait(path):
    database = SqliteDatabase(path)
    assert database.read("PRAGMA synchronous") == [(2,)]
    assert database.read("PRAGMA journal_mode") == [("wal",)]
    database.close()


def test_ensure_db_makes_the_folders_and_the_file(tmp_path):
    made = ensure_db(tmp_path / "a" / ".." / "b" / "own.db")
    assert made == (tmp_path / "b" / "own.db").resolve()
    assert made.is_file()


def test_ensure_db_commits_what_the_callback_made(path):
    def create_tables(connection):
        connection.execute("CREATE TABLE mine (x)")
        connection.execute("INSERT INTO mine VALUES (1)")

    ensure_db(str(path), create_tables)
    ensure_db(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT x FROM mine").fetchall() == [(1,)]


def test_ensure_db_refuses_a_folder(tmp_path):
    with pytest.raises(StorageConfigurationError):
        ensure_db(tmp_path)
