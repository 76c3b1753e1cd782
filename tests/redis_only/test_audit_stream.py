"""The audit log in pages and partitions: what is sent, what is stored, and other processes."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from dir_redis import (
    CorruptRecordError,
    StorageBundle,
    StorageError,
    StorageRefusedError,
    StorageUnavailableError,
    open_storage,
)
from dir_redis.audit_events import PAGE_ROWS, TRIM_ROWS
from dir_redis.redis.connection import connect
from dir_redis.redis.flow_log import LogReader
from tests.conftest import SERVERS
from tests.fault_proxy import fault_proxy
from tests.redis_only.conftest import commands_sent

CONTEXT = multiprocessing.get_context("forkserver")
SECONDS = 20
PARTITIONS = 4

single_servers = pytest.mark.parametrize(
    "real_server", [name for name in SERVERS if name != "cluster"], indirect=True
)


@pytest.fixture
def partitioned(server_url: str, namespace: str) -> Iterator[StorageBundle]:
    """A fresh store of several partitions on each real server."""
    with open_storage(server_url, namespace=namespace, partitions=PARTITIONS) as bundle:
        yield bundle


@contextlib.contextmanager
def replies_received(bundle: StorageBundle) -> Iterator[list[Any]]:
    """The replies that a store gets within a with block, in order."""
    driver: Any = bundle.decision_audit._driver  # type: ignore[attr-defined]
    execute = driver._execute_command
    received: list[Any] = []

    def receive(*command: Any) -> Any:
        received.append(execute(*command))
        return received[-1]

    driver._execute_command = receive
    try:
        yield received
    finally:
        driver._execute_command = execute


def of_flows(count: int, flows: int = 30) -> list[dict[str, Any]]:
    return [{"dfid": f"f{n % flows}", "event": str(n)} for n in range(count)]


def events(rows: Any) -> list[str]:
    return [row["event"] for row in rows]


def record_all(bundle: StorageBundle, rows: list[dict[str, Any]]) -> None:
    for batch in range(0, len(rows), 5000):
        bundle.decision_audit.record_many(rows[batch : batch + 5000])


# Many at once


def test_many_rows_of_many_flows_are_one_script_per_partition(partitioned: StorageBundle) -> None:
    partitioned.decision_audit.record_many(of_flows(60))  # loads the script everywhere

    with commands_sent(partitioned) as sent:
        partitioned.decision_audit.record_many(of_flows(60))

    assert [command[0] for command in sent] == ["EVALSHA"] * PARTITIONS
    assert len({command[3].partition("}")[0] for command in sent}) == PARTITIONS


def test_a_cut_while_many_are_sent_leaves_whole_partitions(partitioned: StorageBundle) -> None:
    partitioned.decision_audit.record_many(of_flows(60))
    driver: Any = partitioned.decision_audit._driver  # type: ignore[attr-defined]
    execute = driver._execute_command
    sent = itertools.count(1)

    def killed(*command: Any) -> Any:
        if next(sent) == 3:
            raise KeyboardInterrupt
        return execute(*command)

    driver._execute_command = killed
    with pytest.raises(KeyboardInterrupt):
        partitioned.decision_audit.record_many(of_flows(60))
    driver._execute_command = execute

    rows = [partitioned.decision_audit.events_for_dfid(f"f{n}") for n in range(30)]
    assert {len(own) for own in rows} == {2, 4}  # every flow has both its rows or none
    assert len(partitioned.decision_audit.all_events_chronological()) == sum(map(len, rows))


@pytest.mark.parametrize("failing", [1, 3])
def test_a_failure_says_how_many_rows_of_other_partitions_are_stored(
    partitioned: StorageBundle, failing: int
) -> None:
    audit = partitioned.decision_audit
    audit.record_many(of_flows(60))  # loads the script everywhere
    driver: Any = audit._driver  # type: ignore[attr-defined]
    execute = driver._execute_command
    sent = itertools.count(1)

    def refuse(*command: Any) -> Any:
        if next(sent) == failing:
            raise redis.exceptions.ResponseError("OOM command not allowed")
        return execute(*command)

    driver._execute_command = refuse
    with pytest.raises(StorageError) as caught:
        audit.record_many(of_flows(60))
    driver._execute_command = execute

    stored = len(audit.all_events_chronological()) - 60
    if failing == 1:
        assert stored == 0
        assert isinstance(caught.value, StorageRefusedError)
    else:
        assert 0 < stored < 60
        assert isinstance(caught.value, StorageUnavailableError)
        assert caught.value.outcome_unknown
        assert "of its writes" in str(caught.value)
        assert "OOM" in str(caught.value)
        caught.value.repeat()
        assert [row["event"] for row in audit.events_for_dfid("f0")] == ["0", "30"] * 2
        assert len(audit.all_events_chronological()) == 120


def test_rows_of_one_call_have_one_moment_and_consecutive_ids(
    store: StorageBundle, raw: Any, namespace: str
) -> None:
    store.decision_audit.record_many(of_flows(2500, flows=1))

    ids = [entry[0].decode() for entry in raw.xrange(f"{{{namespace}:0}}:audit")]
    milliseconds, first = ids[0].split("-")
    assert ids == [f"{milliseconds}-{int(first) + n}" for n in range(2500)]
    rows = store.decision_audit.events_for_dfid("f0")
    assert len({row["timestamp"][:-4] for row in rows}) <= 2  # 2,500 ids are 3 microseconds


def test_many_rows_come_after_a_log_whose_clock_was_ahead(
    store: StorageBundle, raw: Any, namespace: str
) -> None:
    row = dict.fromkeys(("event", "step_id", "state", "root_dfid", "agent_id", "severity"), "")
    in_2100 = "4102444800000-999000"
    raw.xadd(f"{{{namespace}:0}}:audit", {"dfid": "f", **row, "details": "{}"}, id=in_2100)

    store.decision_audit.record_many(of_flows(3, flows=1))

    assert events(store.decision_audit.iter_events()) == ["", "0", "1", "2"]


def test_a_flow_list_of_another_type_fails_before_the_first_row(
    store: StorageBundle, raw: Any, namespace: str
) -> None:
    raw.set(f"{{{namespace}:0}}:audit_flow:spoilt", "x")

    with pytest.raises(StorageError):
        store.decision_audit.record_many(
            [{"dfid": "f", "event": "e"}, {"dfid": "spoilt", "event": "e"}]
        )

    assert not raw.exists(f"{{{namespace}:0}}:audit", f"{{{namespace}:0}}:audit_flow:f")


# Pages


def test_an_iterator_reads_a_page_when_it_needs_it_and_no_more(store: StorageBundle) -> None:
    record_all(store, of_flows(2 * PAGE_ROWS + 1, flows=1))
    store.decision_audit.record_many(of_flows(1, flows=1))
    list(store.decision_audit.iter_events("f0"))  # loads the script

    for dfid in (None, "f0"):
        with replies_received(store) as replies:
            iterator = store.decision_audit.iter_events(dfid)
            assert replies == []
            next(iterator)
            assert [len(page) for page in replies] == [PAGE_ROWS]
            for _ in range(PAGE_ROWS):
                next(iterator)
            assert [len(page) for page in replies] == [PAGE_ROWS] * 2
            assert len(list(iterator)) == PAGE_ROWS + 1
        # The last short page, and for one flow the look that finds no more.
        assert [len(page) for page in replies if page] == [PAGE_ROWS, PAGE_ROWS, 2]


def test_what_an_iterator_over_partitions_holds_is_bounded(partitioned: StorageBundle) -> None:
    record_all(partitioned, of_flows(3 * PAGE_ROWS))
    whole = partitioned.decision_audit.all_events_chronological()

    with replies_received(partitioned) as replies:
        iterator = partitioned.decision_audit.iter_events()
        next(iterator)
        assert sum(map(len, replies)) <= PAGE_ROWS
        rows = 1 + sum(1 for _ in iterator)

    assert rows == len(whole)
    assert max(map(len, replies)) <= PAGE_ROWS // PARTITIONS
    assert events(partitioned.decision_audit.iter_events()) == events(whole)


def test_a_follower_with_a_backlog_reads_it_in_pages(partitioned: StorageBundle) -> None:
    record_all(partitioned, of_flows(2 * PAGE_ROWS))

    with replies_received(partitioned) as replies:
        rows = events(partitioned.decision_audit.follow(after="", timeout_sec=0))

    assert rows == events(partitioned.decision_audit.all_events_chronological())
    assert max(len(page) for page in replies if page) <= PAGE_ROWS // PARTITIONS


def test_a_reader_takes_no_row_before_it_knows_all_that_come_earlier() -> None:
    """Two partitions, pages of two: b's rows wait until a has been read past them."""

    def page(*numbers: int) -> list[Any]:
        return [(f"{number}-0", {"n": str(number)}) for number in numbers]

    reader = LogReader(["a", "b"], ["", ""], page_rows=2)
    got: list[int] = []

    def read(*pages: list[Any]) -> list[str]:
        """Give each request the next page; return the keys that were asked for."""
        steps, asked, answers = reader.read(), [], iter(pages)
        try:
            requests = next(steps)
            while True:
                asked += [request.key for request in requests]  # type: ignore[union-attr]
                requests = steps.send([next(answers) for _ in requests])  # type: ignore[arg-type]
        except StopIteration as done:
            got.extend(entry.id[0] for _, entry in done.value)
        return asked

    assert read(page(1, 5), page(2, 3)) == ["a", "b"]
    assert got == [1, 2, 3]
    assert read(page(6)) == ["b"]
    assert got == [1, 2, 3, 5]
    assert not reader.at_end
    assert read(page()) == ["a"]
    assert got == [1, 2, 3, 5, 6]
    assert reader.at_end


def test_after_an_error_an_iterator_goes_on_where_it_was(store: StorageBundle) -> None:
    record_all(store, of_flows(PAGE_ROWS + 5))
    iterator = store.decision_audit.iter_events()
    rows = events(itertools.islice(iterator, PAGE_ROWS))
    driver: Any = store.decision_audit._driver  # type: ignore[attr-defined]
    execute = driver._execute_command

    def fail(*_: Any) -> Any:
        raise StorageError("the store is away")

    driver._execute_command = fail
    with pytest.raises(StorageError, match="the store is away"):
        next(iterator)
    driver._execute_command = execute

    assert rows + events(iterator) == [str(n) for n in range(PAGE_ROWS + 5)]


def spoil(raw: Any, key: str, entry_id: bytes, fields: dict[Any, Any]) -> None:
    """Put other fields into an entry, in its place."""
    entries = raw.xrange(key)
    raw.delete(key)
    for one, content in entries:
        raw.xadd(key, {**content, **fields} if one == entry_id else content, id=one)


@pytest.mark.parametrize("garbage", [{"details": "{"}, {"event": b"\xff"}])
@pytest.mark.parametrize("read", ["iter_events", "iter_events of a flow", "follow"])
def test_a_corrupt_row_is_never_passed_over(
    store: StorageBundle, raw: Any, namespace: str, read: str, garbage: dict[Any, Any]
) -> None:
    audit = store.decision_audit
    key = f"{{{namespace}:0}}:audit"
    audit.record_many(of_flows(10, flows=1))
    ids = [entry_id for entry_id, _ in raw.xrange(key)]
    spoil(raw, key, ids[4], garbage)
    flow, mark = (None, "") if read != "iter_events of a flow" else ("f0", "flow:")
    iterator = (
        audit.follow(after="", timeout_sec=0) if read == "follow" else audit.iter_events(flow)
    )

    assert events(itertools.islice(iterator, 4)) == ["0", "1", "2", "3"]
    for _ in range(3):
        with pytest.raises(CorruptRecordError, match="audit"):
            next(iterator)
        assert iterator.cursor == mark + ids[3].decode()

    again = audit.iter_events(flow, after=iterator.cursor)
    with pytest.raises(CorruptRecordError) as caught:
        next(again)
    assert caught.value.key == key


def test_an_archiver_that_goes_on_after_a_corrupt_row_loses_none_behind_it(
    partitioned: StorageBundle, server_url: str, namespace: str
) -> None:
    audit = partitioned.decision_audit
    audit.commit_archived("g", "")
    audit.record_many(of_flows(60))
    key = f"{{{namespace}:2}}:audit"
    client: Any = connect(server_url, attempt_timeout_sec=5).client
    [entry_id, _] = client.xrange(key)[3]
    spoil(client, key, entry_id, {"details": "{"})
    client.close()

    iterator, archived = audit.iter_events(), []
    for _ in range(70):
        with contextlib.suppress(CorruptRecordError):
            archived.append(next(iterator)["event"])
        audit.commit_archived("g", iterator.cursor)

    with pytest.raises(CorruptRecordError) as caught:
        next(iterator)
    assert caught.value.key == key
    assert len(set(archived)) == len(archived)
    assert audit.trim(max_rows=0) == len(archived) < 60


@pytest.mark.parametrize("read", ["iter_events", "iter_events of a flow", "follow"])
def test_an_interrupt_after_a_page_arrived_costs_no_row(store: StorageBundle, read: str) -> None:
    audit = store.decision_audit
    record_all(store, of_flows(PAGE_ROWS + 5, flows=1))
    iterator = {
        "iter_events": lambda: audit.iter_events(),
        "iter_events of a flow": lambda: audit.iter_events("f0"),
        "follow": lambda: audit.follow(after="", timeout_sec=0),
    }[read]()
    driver: Any = audit._driver  # type: ignore[attr-defined]
    run = driver.run

    def interrupted(steps: Any) -> Any:
        run(steps)
        raise KeyboardInterrupt

    rows = []
    for count in (0, PAGE_ROWS):
        rows += events(itertools.islice(iterator, count))
        driver.run = interrupted
        with pytest.raises(KeyboardInterrupt):
            next(iterator)
        driver.run = run

    assert rows + events(iterator) == [str(n) for n in range(PAGE_ROWS + 5)]


def test_an_iterator_of_a_closed_store_says_so(server_url: str, namespace: str) -> None:
    with open_storage(server_url, namespace=namespace) as bundle:
        bundle.decision_audit.record("f", "E")
        iterators = [bundle.decision_audit.iter_events(), bundle.decision_audit.iter_events("f")]
        iterators.append(bundle.decision_audit.follow(after=""))

    for iterator in iterators:
        with pytest.raises(StorageError, match="was closed"):
            next(iterator)


@pytest.mark.parametrize("dfid", [None, "f0"])
def test_pages_go_on_after_the_row_before_when_rows_were_trimmed(
    store: StorageBundle, dfid: str | None
) -> None:
    """By position, a page would begin as many rows too far as were dropped."""
    record_all(store, of_flows(2 * PAGE_ROWS, flows=1))
    iterator = store.decision_audit.iter_events(dfid)
    next(iterator)

    store.decision_audit.trim(max_rows=2 * PAGE_ROWS - 100)

    assert events(iterator) == [str(n) for n in range(1, 2 * PAGE_ROWS)]


def test_a_long_read_of_a_flow_misses_no_row_when_rows_are_trimmed_between_its_pages(
    store: StorageBundle,
) -> None:
    record_all(store, of_flows(2 * PAGE_ROWS, flows=1))
    driver: Any = store.decision_audit._driver  # type: ignore[attr-defined]
    execute = driver._execute_command

    def trim_after_the_first_page(*command: Any) -> Any:
        reply = execute(*command)
        driver._execute_command = execute
        store.decision_audit.trim(max_rows=2 * PAGE_ROWS - 100)
        return reply

    store.decision_audit.events_for_dfid("f0")  # loads the script
    driver._execute_command = trim_after_the_first_page

    rows = store.decision_audit.events_for_dfid("f0")

    assert events(rows) == [str(n) for n in range(2 * PAGE_ROWS)]


# Following


def test_following_several_partitions_of_one_server_waits_in_one_command(
    servers: Any, namespace: str
) -> None:
    url = servers.url(SERVERS[0])
    with open_storage(url, namespace=namespace, partitions=PARTITIONS) as bundle:
        followed = bundle.decision_audit.follow(timeout_sec=0.1)
        with commands_sent(bundle) as sent:
            assert list(followed) == []

    assert [command[0] for command in sent].count("XRANGE") == PARTITIONS  # one look
    waits = [command for command in sent if command[0] == "XREAD"]
    assert len(waits) <= 3
    assert all(len(command) == 6 + 2 * PARTITIONS for command in waits)


def _append_in_turn(url: str, namespace: str, go_on: Any, moments: Any, count: int) -> None:
    with open_storage(url, namespace=namespace) as bundle:
        bundle.decision_audit.record("warm", "up")
        for number in range(count):
            go_on.acquire()
            moments.put(time.monotonic())
            bundle.decision_audit.record(f"f{number}", str(number))


def test_rows_of_another_process_are_seen_in_order_within_half_a_second(
    partitioned: StorageBundle, server_url: str, namespace: str
) -> None:
    """On a cluster the partitions are waited for in turns."""
    count = 12
    go_on, moments = CONTEXT.Semaphore(0), CONTEXT.SimpleQueue()
    start = partitioned.decision_audit.follow(timeout_sec=SECONDS)
    writer = CONTEXT.Process(
        target=_append_in_turn, args=(server_url, namespace, go_on, moments, count)
    )
    writer.start()
    try:
        assert next(start)["event"] == "up"
        delays = []
        for number in range(count):
            go_on.release()
            row = next(start)
            delays.append(time.monotonic() - moments.get())
            assert (row["dfid"], row["event"]) == (f"f{number}", str(number))
        assert sorted(delays)[count // 2] < 0.5  # a loaded machine may hold up one of them
        assert max(delays) < 3
    finally:
        writer.join(SECONDS)
        if writer.is_alive():
            writer.kill()


def test_a_follower_survives_lost_replies(servers: Any, namespace: str) -> None:
    with (
        fault_proxy(servers.url(SERVERS[0])) as proxy,
        open_storage(proxy.url, namespace=namespace, timeout_sec=5) as bundle,
    ):
        followed = bundle.decision_audit.follow(timeout_sec=SECONDS)
        bundle.decision_audit.record("f", "first")
        proxy.lose_replies(2, to=b"XR")
        assert next(followed)["event"] == "first"
        bundle.decision_audit.record("f", "second")
        proxy.lose_replies(2, to=b"XREAD")
        assert next(followed)["event"] == "second"


# Trimming


def test_trimming_takes_the_ids_of_the_lists_too(
    store: StorageBundle, raw: Any, namespace: str
) -> None:
    tag = f"{{{namespace}:0}}:"
    store.decision_audit.record_many(of_flows(10, flows=3))

    assert store.decision_audit.trim(max_rows=2) == 8

    left = [entry[0] for entry in raw.xrange(f"{tag}audit")]
    assert raw.lrange(f"{tag}audit_flow:f2", 0, -1) == left[:1]
    assert raw.lrange(f"{tag}audit_flow:f0", 0, -1) == left[1:]
    assert not raw.exists(f"{tag}audit_flow:f1")


def test_trimming_goes_in_steps_of_bounded_size(store: StorageBundle) -> None:
    record_all(store, of_flows(3 * TRIM_ROWS + 1))
    store.decision_audit.trim(max_rows=3 * TRIM_ROWS)  # loads the scripts

    with commands_sent(store) as sent:
        assert store.decision_audit.trim(max_rows=0) == 3 * TRIM_ROWS

    # Looking and dropping, three times, and a look that finds no more.
    assert len(sent) == 7


@pytest.fixture
def interfering(store: StorageBundle) -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Do something between a trim's look at the oldest rows and its dropping them."""
    driver: Any = store.decision_audit._driver  # type: ignore[attr-defined]
    execute = driver._execute_command

    def interfere(action: Callable[[], Any]) -> None:
        store.decision_audit.trim(max_rows=10_000)  # loads the script that looks

        def once_after_the_look(*command: Any) -> Any:
            reply = execute(*command)
            driver._execute_command = execute
            action()
            return reply

        driver._execute_command = once_after_the_look

    yield interfere
    driver._execute_command = execute


def test_a_group_that_comes_while_a_trim_is_under_way_loses_no_row(
    store: StorageBundle, interfering: Callable[[Callable[[], Any]], None]
) -> None:
    store.decision_audit.record_many(of_flows(10))
    interfering(lambda: store.decision_audit.commit_archived("g", ""))

    assert store.decision_audit.trim(max_rows=0) == 0

    assert len(store.decision_audit.all_events_chronological()) == 10


def test_a_trim_in_between_leaves_the_rest_to_this_one_and_no_row_is_counted_twice(
    store: StorageBundle, interfering: Callable[[Callable[[], Any]], None]
) -> None:
    store.decision_audit.record_many(of_flows(TRIM_ROWS + 10, flows=7))
    dropped_in_between: list[int] = []
    interfering(lambda: dropped_in_between.append(store.decision_audit.trim(max_rows=20)))

    assert store.decision_audit.trim(max_rows=0) == 20
    assert dropped_in_between == [TRIM_ROWS - 10]


def test_a_flow_that_was_not_found_is_left_to_the_next_step(
    store: StorageBundle, interfering: Callable[[Callable[[], Any]], None]
) -> None:
    """The script must touch no key that it did not declare."""
    store.decision_audit.record_many(of_flows(3, flows=1))

    def replace_all() -> None:
        store.decision_audit.trim(max_rows=0)
        store.decision_audit.record("other", "E")
        store.decision_audit.record("f0", "E")

    interfering(replace_all)

    assert store.decision_audit.trim(max_rows=0) == 0
    assert len(store.decision_audit.all_events_chronological()) == 2
    assert store.decision_audit.trim(max_rows=0) == 2


def test_a_trim_whose_reply_is_lost_drops_once_and_counts_right(
    servers: Any, namespace: str
) -> None:
    with (
        fault_proxy(servers.url(SERVERS[0])) as proxy,
        open_storage(proxy.url, namespace=namespace, timeout_sec=3) as bundle,
    ):
        bundle.decision_audit.record_many(of_flows(30))
        assert bundle.decision_audit.trim(max_rows=25) == 5
        proxy.lose_replies(2, to=b"EVALSHA")

        assert bundle.decision_audit.trim(max_rows=10) == 15
        assert len(bundle.decision_audit.all_events_chronological()) == 10


def test_a_list_that_does_not_match_the_log_stops_a_trim_before_it_drops_anything(
    store: StorageBundle, raw: Any, namespace: str
) -> None:
    store.decision_audit.record_many(of_flows(4, flows=2))
    key = f"{{{namespace}:0}}:audit_flow:f1"
    raw.lpop(key)

    with pytest.raises(CorruptRecordError) as caught:
        store.decision_audit.trim(max_rows=0)

    assert caught.value.key == key
    assert len(store.decision_audit.all_events_chronological()) == 4


@pytest.mark.parametrize("garbage", ["x", "1", "1-", "5-x"])
def test_a_groups_cursor_that_is_garbage_is_corrupt_and_nothing_is_dropped(
    store: StorageBundle, raw: Any, namespace: str, garbage: str
) -> None:
    key = f"{{{namespace}:0}}:audit_groups"
    store.decision_audit.record("f", "E")
    raw.hset(key, "g", garbage)

    for use in (
        lambda: store.decision_audit.trim(max_rows=0),
        lambda: store.decision_audit.get_archived("g"),
        lambda: store.decision_audit.commit_archived("g", ""),
    ):
        with pytest.raises(CorruptRecordError) as caught:
            use()
        assert caught.value.key == key
    assert len(store.decision_audit.all_events_chronological()) == 1


def test_an_id_of_a_flow_without_its_row_is_corrupt_on_any_page(
    store: StorageBundle, raw: Any, namespace: str
) -> None:
    tag = f"{{{namespace}:0}}:"
    store.decision_audit.record_many(of_flows(3, flows=1))
    ids = raw.lrange(f"{tag}audit_flow:f0", 0, -1)
    raw.xdel(f"{tag}audit", ids[2])

    iterator = store.decision_audit.iter_events("f0", after=f"flow:{ids[1].decode()}")
    with pytest.raises(CorruptRecordError):
        next(iterator)


def test_ids_are_ordered_as_numbers_not_as_text(
    store: StorageBundle, raw: Any, namespace: str
) -> None:
    tag = f"{{{namespace}:0}}:"
    names = ("event", "step_id", "state", "root_dfid", "agent_id", "severity")
    ids = [
        "999-5",
        "1000-7000",
        "1000-9000",
        "1000-10000",
        f"1000-{2**53 + 2}",
        f"1000-{2**53 + 3}",
    ]
    for entry_id in ids:
        row = {"dfid": "f", **dict.fromkeys(names, ""), "event": entry_id, "details": "{}"}
        raw.xadd(f"{tag}audit", row, id=entry_id)
        raw.rpush(f"{tag}audit_flow:f", entry_id)
    audit = store.decision_audit

    for position, entry_id in enumerate(ids):
        assert events(audit.iter_events("f", after=f"flow:{entry_id}")) == ids[position + 1 :]
        assert events(audit.iter_events(after=entry_id)) == ids[position + 1 :]
        audit.commit_archived("g", entry_id)
        for earlier in ids[:position]:
            audit.commit_archived("g", earlier)
        assert audit.get_archived("g") == entry_id
    assert audit.trim(older_than_sec=3600) == len(ids)


# Groups over partitions


def test_a_group_that_was_cut_off_while_registering_is_registered_by_the_next_try(
    partitioned: StorageBundle,
) -> None:
    partitioned.decision_audit.record_many(of_flows(60))
    partitioned.decision_audit.commit_archived("other", "")  # loads the script
    partitioned.decision_audit.forget_group("other")
    driver: Any = partitioned.decision_audit._driver  # type: ignore[attr-defined]
    partitions = partitioned.decision_audit._keys.partitions  # type: ignore[attr-defined]
    execute = driver._execute_command
    sent = itertools.count(1)

    def killed(*command: Any) -> Any:
        if next(sent) == partitions + 3:  # all were asked, and two of them told
            raise KeyboardInterrupt
        return execute(*command)

    driver._execute_command = killed
    with pytest.raises(KeyboardInterrupt):
        partitioned.decision_audit.commit_archived("g", "")
    driver._execute_command = execute

    assert partitioned.decision_audit.get_archived("g") is None
    partitioned.decision_audit.commit_archived("g", "")
    assert partitioned.decision_audit.get_archived("g") is not None
    assert partitioned.decision_audit.trim(max_rows=0) == 0


def test_a_cursor_that_one_partition_refuses_is_committed_in_none(
    partitioned: StorageBundle,
) -> None:
    audit = partitioned.decision_audit
    audit.record_many(of_flows(60))
    iterator = audit.iter_events()
    assert len(list(iterator)) == 60
    places = iterator.cursor.split(",")
    ahead = ",".join([*places[:-1], f"9{places[-1]}"])

    for before in (None, ""):
        with pytest.raises(ValueError, match="cursor is no cursor of this store"):
            audit.commit_archived("g", ahead)
        assert audit.get_archived("g") == before
        audit.commit_archived("g", "")

    assert audit.trim(max_rows=0) == 0


def test_a_group_that_was_cut_off_while_forgetting_is_none_until_it_is_committed_again(
    partitioned: StorageBundle,
) -> None:
    audit = partitioned.decision_audit
    audit.record_many(of_flows(60))
    audit.commit_archived("g", "")
    driver: Any = audit._driver  # type: ignore[attr-defined]
    execute = driver._execute_command
    sent = itertools.count(1)

    def killed(*command: Any) -> Any:
        if next(sent) == 4:
            raise KeyboardInterrupt
        return execute(*command)

    driver._execute_command = killed
    with pytest.raises(KeyboardInterrupt):
        audit.forget_group("g")
    driver._execute_command = execute

    assert audit.get_archived("g") is None
    audit.commit_archived("g", "")
    assert audit.get_archived("g") == ""
    assert audit.trim(max_rows=0) == 0


LARGEST = 2**64 - 1


@pytest.mark.parametrize(
    "place", [f"{LARGEST + 1}-0", f"0-{LARGEST + 1}", f"{LARGEST}-{LARGEST}", "9" * 20 + "-1"]
)
def test_a_cursor_that_no_entry_can_have_is_refused_at_the_call(
    partitioned: StorageBundle, place: str
) -> None:
    audit = partitioned.decision_audit
    cursor = ",".join(["0-0"] * (PARTITIONS - 1) + [place])

    for use in (
        lambda: audit.iter_events(after=cursor),
        lambda: audit.follow(after=cursor),
        lambda: audit.commit_archived("g", cursor),
        lambda: audit.iter_events("f", after=f"flow:{place}"),
    ):
        with pytest.raises(ValueError, match="is no cursor of this store"):
            use()


@pytest.mark.parametrize("place", [f"{LARGEST}-{LARGEST - 1}", f"{LARGEST - 1}-{LARGEST}"])
def test_the_largest_cursor_is_one(partitioned: StorageBundle, place: str) -> None:
    audit = partitioned.decision_audit
    audit.record("f", "e")
    cursor = ",".join([place] * PARTITIONS)

    assert list(audit.iter_events(after=cursor)) == []
    assert list(audit.follow(after=cursor, timeout_sec=0)) == []
    assert list(audit.iter_events("f", after=f"flow:{place}")) == []


def test_an_archiver_that_resumes_from_its_group_misses_and_repeats_nothing(
    partitioned: StorageBundle,
) -> None:
    audit = partitioned.decision_audit
    audit.commit_archived("g", "")
    archived: list[str] = []
    for batch in range(5):
        audit.record_many([{"dfid": f"f{n}", "event": f"{batch}.{n}"} for n in range(30)])
        iterator = audit.iter_events(after=audit.get_archived("g"))
        archived += events(itertools.islice(iterator, 20))
        audit.commit_archived("g", iterator.cursor)
        audit.trim(max_rows=0)
    archived += events(audit.iter_events(after=audit.get_archived("g")))

    assert sorted(archived) == sorted(f"{batch}.{n}" for batch in range(5) for n in range(30))
    assert len(audit.all_events_chronological()) == 50


# Many processes


def _append_batches(url: str, namespace: str, number: int) -> None:
    with open_storage(url, namespace=namespace) as bundle:
        for turn in range(30):
            bundle.decision_audit.record(f"f{number}", f"{turn}.0")
            bundle.decision_audit.record_many(
                [{"dfid": f"f{number}", "event": f"{turn}.{k}"} for k in (1, 2)]
            )


def _trim_all(url: str, namespace: str, stop: Any, dropped: Any) -> None:
    count = 0
    with open_storage(url, namespace=namespace) as bundle:
        while True:
            last = stop.is_set()
            count += bundle.decision_audit.trim(max_rows=0)
            if last:
                break
    dropped.put(count)


def test_trims_appends_and_an_archiver_of_several_processes_lose_nothing(
    partitioned: StorageBundle, server_url: str, namespace: str
) -> None:
    audit = partitioned.decision_audit
    audit.commit_archived("g", "")
    stop, dropped = CONTEXT.Event(), CONTEXT.SimpleQueue()
    writers = [
        CONTEXT.Process(target=_append_batches, args=(server_url, namespace, n)) for n in range(3)
    ]
    trimmers = [
        CONTEXT.Process(target=_trim_all, args=(server_url, namespace, stop, dropped))
        for _ in range(2)
    ]
    for process in writers + trimmers:
        process.start()
    followed = audit.follow(after="", timeout_sec=SECONDS)
    archived = []
    for row in itertools.islice(followed, 3 * 90):
        archived.append((row["dfid"], row["event"]))
        if len(archived) % 20 == 0:
            audit.commit_archived("g", followed.cursor)
    audit.commit_archived("g", followed.cursor)
    stop.set()
    for process in writers + trimmers:
        process.join(SECONDS)
    assert [process.exitcode for process in writers + trimmers] == [0] * 5

    for n in range(3):
        own = [event for flow, event in archived if flow == f"f{n}"]
        assert own == [f"{turn}.{k}" for turn in range(30) for k in range(3)]
    assert dropped.get() + dropped.get() == 3 * 90
    assert audit.all_events_chronological() == []
