"""Several processes on one file, a busy file, and forks."""

from __future__ import annotations

import os
import threading
import time

import pytest

from dir_redis import ResourceContentionError, StorageRefusedError, sqlite_storage
from dir_redis.sqlite import database

FORK_SECONDS = 60


def test_two_processes_never_exceed_a_capacity(store, at_once):
    store.resource_lock.set_capacity("capital", 50)
    outputs = at_once(
        "with sqlite_storage(path) as store:\n"
        "    for turn in range(60):\n"
        "        try:\n"
        "            print(store.resource_lock.acquire_batch(\n"
        "                f'{number}-{turn}', {'capital': 1}, 60))\n"
        "        except InsufficientCapacityError:\n"
        "            print('none left')\n",
        processes=2,
    )
    lines = [line for output in outputs for line in output.split("\n") if line]
    assert (lines.count("True"), lines.count("none left")) == (50, 70)
    assert store.resource_lock.get_locked_amount("capital", exclude_dfid="nobody") == 50.0


def test_what_two_processes_record_is_all_there(store, at_once):
    at_once(
        "with sqlite_storage(path) as store:\n"
        "    for turn in range(100):\n"
        "        store.decision_audit.record(str(number), str(turn))\n",
        processes=2,
    )
    for flow in ("0", "1"):
        events = [row["event"] for row in store.decision_audit.events_for_dfid(flow)]
        assert events == [str(turn) for turn in range(100)]


@pytest.mark.parametrize("timeout", [0, 0.2])
def test_a_batch_waits_for_a_held_write_lock_as_long_as_it_was_told(store, raw, timeout):
    raw("BEGIN IMMEDIATE")
    begun = time.monotonic()
    assert store.resource_lock.acquire_batch("flow", {"capital": 1}, timeout) is False
    assert timeout <= time.monotonic() - begun < timeout + 2
    raw("ROLLBACK")
    assert store.resource_lock.acquire_batch("flow", {"capital": 1}, 0) is True


def test_a_batch_is_reserved_once_the_write_lock_is_free(store, raw):
    raw("BEGIN IMMEDIATE")
    answers = []
    waiting = threading.Thread(
        target=lambda: answers.append(store.resource_lock.acquire_batch("f", {"r": 1}, 60))
    )
    waiting.start()
    raw("COMMIT")
    waiting.join(FORK_SECONDS)
    assert answers == [True]


def test_any_other_write_gives_up_with_nothing_stored(store, raw, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE_SEC", 0.05)
    raw("BEGIN IMMEDIATE")
    with pytest.raises(ResourceContentionError):
        store.saga.mark_dirty("flow", "pay", "{}")
    raw("ROLLBACK")
    assert store.saga.get_dirty_flows() == []


def test_a_waiting_writer_holds_up_no_reader(store, raw):
    raw("BEGIN IMMEDIATE")
    waiting = threading.Thread(target=store.saga.mark_dirty, args=("flow", "pay", "{}"))
    waiting.start()
    begun = time.monotonic()
    for _ in range(100):
        assert store.saga.get_dirty_flows() == []
    assert time.monotonic() - begun < 5
    raw("COMMIT")
    waiting.join(FORK_SECONDS)
    assert store.saga.get_dirty_flows() == ["flow"]


class Fork:
    """A child process that runs a function, with a pipe each way to keep step."""

    def __init__(self, run):
        self._to_child, self._to_parent = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                run(self)
                code = 0
            finally:
                os._exit(code)

    def tell_parent(self):
        os.write(self._to_parent[1], b".")

    def hear_child(self):
        assert os.read(self._to_parent[0], 1) == b"."

    def tell_child(self):
        os.write(self._to_child[1], b".")

    def hear_parent(self):
        assert os.read(self._to_child[0], 1) == b"."

    def join(self):
        _, status = os.waitpid(self.pid, 0)
        for end in (*self._to_child, *self._to_parent):
            os.close(end)
        return os.waitstatus_to_exitcode(status)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_goes_on_writing_after_its_parent_closed(path):
    store = sqlite_storage(path)
    store.decision_audit.record("flow", "parent")

    def child(fork):
        store.decision_audit.record("flow", "child, parent open")
        fork.tell_parent()
        fork.hear_parent()
        store.decision_audit.record("flow", "child, parent closed")

    fork = Fork(child)
    fork.hear_child()
    store.close()  # the last connection of a file removes its write-ahead log
    fork.tell_child()
    assert fork.join() == 0
    with sqlite_storage(path) as again:
        assert [row["event"] for row in again.decision_audit.events_for_dfid("flow")] == [
            "parent",
            "child, parent open",
            "child, parent closed",
        ]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forks_amid_other_threads_writes_lose_nothing(store):
    enough = threading.Event()
    written = []

    def write():
        while not enough.is_set():
            store.decision_audit.record("parent", str(len(written)))
            written.append(str(len(written)))

    writer = threading.Thread(target=write)
    writer.start()
    forks = [
        Fork(lambda _, number=number: store.decision_audit.record("child", str(number)))
        for number in range(10)
    ]
    assert [fork.join() for fork in forks] == [0] * 10
    enough.set()
    writer.join(FORK_SECONDS)
    events = [row["event"] for row in store.decision_audit.events_for_dfid("parent")]
    assert events == written
    children = [row["event"] for row in store.decision_audit.events_for_dfid("child")]
    assert sorted(children) == [str(number) for number in range(10)]


def test_a_full_disk_is_a_storage_error_with_nothing_half_written(store, at_once):
    (output,) = at_once(
        "import os, resource\n"
        "with sqlite_storage(path) as store:\n"
        "    store.resource_lock.acquire_batch('kept', {'r': 1}, 1)\n"
        "    size = os.path.getsize(path + '-wal')\n"
        "    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, unlimited[1]))\n"
        "    try:\n"
        "        store.resource_lock.acquire_batch('lost', {f'r{n}': 1 for n in range(999)}, 1)\n"
        "    except StorageError as error:\n"
        "        print(type(error).__name__, type(error.__cause__).__name__)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)\n"
        "    assert store.resource_lock.acquire_batch('after', {'r': 1}, 1)\n",
        processes=1,
    )
    assert output.split() in (
        ["StorageRefusedError", "OperationalError"],
        ["StorageUnavailableError", "OperationalError"],
    )
    assert store.resource_lock.get_locked_amount("r", exclude_dfid="nobody") == 2.0
    assert store.resource_lock.get_locked_amount("r7", exclude_dfid="nobody") == 0.0


def test_a_write_that_is_not_allowed_is_refused(store, raw):
    raw("CREATE TRIGGER no_more BEFORE INSERT ON saga_dirty_state BEGIN "
        "SELECT RAISE(ABORT, 'frozen'); END")  # fmt: skip
    with pytest.raises(StorageRefusedError, match="frozen") as refused:
        store.saga.mark_dirty("flow", "pay", "{}")
    assert refused.value.code == "SQLITE_CONSTRAINT_TRIGGER"
