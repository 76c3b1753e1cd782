"""The audit log many rows at once: written, read in pages, followed, archived and trimmed."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from dir_redis import AuditStreamStorage
from dir_redis.audit_events import PAGE_ROWS
from dir_redis.limits import MAX_ITEMS

SECONDS = 20


def events(rows):
    return [row["event"] for row in rows]


def numbered(flow, *numbers):
    return [{"dfid": flow, "event": str(number)} for number in numbers]


def flow_in_turn(number):
    """Flows that lie in several partitions, where there are several."""
    return f"f{number * 7 % 30}"


def of_many_flows(count):
    return [{"dfid": flow_in_turn(n), "event": str(n)} for n in range(count)]


def test_the_storage_has_the_protocol(audit):
    assert isinstance(audit, AuditStreamStorage)


# Many at once


def test_record_many_returns_nothing_and_no_rows_are_none(audit):
    assert audit.record_many(numbered("f", 1)) is None
    assert audit.record_many([]) is None

    assert events(audit.all_events_chronological()) == ["1"]


def test_record_many_records_what_record_would(audit):
    row = {
        "dfid": "f",
        "event": "e",
        "step_id": "s",
        "state": "A",
        "details": {"b": [1, None], "a": "é"},
        "root_dfid": "r",
        "agent_id": "a",
        "severity": "ERROR",
    }
    audit.record(**row)
    audit.record("f", "plain")
    audit.record_many([row, {"dfid": "f", "event": "plain"}])

    rows = [
        {key: value for key, value in row.items() if key not in ("timestamp", "created_at")}
        for row in audit.events_for_dfid("f")
    ]
    assert rows[:2] == rows[2:]


def test_rows_of_one_call_are_in_the_order_given_per_flow_and_of_all(audit):
    given = of_many_flows(500)
    audit.record_many(given[:250])
    audit.record_many(given[250:])

    for flow in {row["dfid"] for row in given}:
        own = [row["event"] for row in given if row["dfid"] == flow]
        assert events(audit.events_for_dfid(flow)) == own
    rows = audit.all_events_chronological()
    assert sorted(events(rows), key=int) == [str(n) for n in range(500)]
    timestamps = [row["timestamp"] for row in rows]
    assert timestamps == sorted(timestamps)


def test_rows_of_one_flow_are_in_the_order_given_in_the_log_of_all_too(audit):
    audit.record_many(numbered("f", *range(3000)))
    audit.record("f", "last")

    expected = [*map(str, range(3000)), "last"]
    assert events(audit.all_events_chronological()) == expected
    assert events(audit.events_for_dfid("f")) == expected


def test_rows_may_come_from_a_generator_and_in_any_mapping(audit):
    audit.record_many(row for row in numbered("f", 1, 2))

    assert events(audit.events_for_dfid("f")) == ["1", "2"]


def test_timestamps_of_many_are_the_stores(audit, is_store_time):
    audit.record_many(numbered("f", 1, 2, 3))

    assert all(is_store_time(row["timestamp"]) for row in audit.events_for_dfid("f"))


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ({"dfid": "f"}, TypeError, r"rows\[1\] has no 'event'"),
        ({"event": "e"}, TypeError, r"rows\[1\] has no 'dfid'"),
        ({"dfid": "f", "event": "e", "time": 1}, TypeError, r"rows\[1\] has an argument 'time'"),
        ({"dfid": "f", "event": "e", 1: 1}, TypeError, r"rows\[1\] has an argument 1"),
        ({"dfid": "f", "event": "e", "self": 1}, TypeError, r"rows\[1\] has an argument 'self'"),
        ({"dfid": "", "event": "e"}, ValueError, r"rows\[1\]: dfid must not be empty"),
        ({"dfid": 7, "event": "e"}, TypeError, r"rows\[1\]: dfid must be a str"),
        ({"dfid": "f", "event": "\ud800"}, ValueError, r"rows\[1\]: event holds a lone surrogate"),
        ({"dfid": "f", "event": "e", "details": [1]}, TypeError, r"rows\[1\]: details must be"),
        ({"dfid": "f", "event": "e", "agent_id": ""}, ValueError, r"rows\[1\]: agent_id must"),
        ("f", TypeError, r"rows\[1\] must be a dict, not str"),
        (None, TypeError, r"rows\[1\] must be a dict, not NoneType"),
    ],
)
def test_a_bad_row_in_the_middle_stores_nothing(audit, bad, error, message):
    good = {"dfid": "f", "event": "good"}

    with pytest.raises(error, match=message):
        audit.record_many([good, bad, good])

    assert audit.all_events_chronological() == []


@pytest.mark.parametrize("rows", [None, 7, {"dfid": "f", "event": "e"}])
def test_rows_must_be_an_iterable_of_dicts(audit, rows):
    with pytest.raises(TypeError, match="rows must be an iterable of dicts"):
        audit.record_many(rows)


def test_an_error_of_the_callers_generator_reaches_it_and_nothing_is_stored(audit):
    def rows():
        yield {"dfid": "f", "event": "e"}
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        audit.record_many(rows())

    assert audit.all_events_chronological() == []


def test_too_many_rows_are_refused_before_any_is_stored(audit):
    endless = itertools.repeat({"dfid": "f", "event": "e"})

    with pytest.raises(ValueError, match="rows are more than 10,000"):
        audit.record_many(endless)

    assert MAX_ITEMS == 10_000
    assert audit.all_events_chronological() == []


def test_batches_written_at_once_do_not_mix_and_none_is_lost(audit, race):
    def write(n):
        for turn in range(5):
            audit.record_many(numbered("f", *(f"{n}.{turn}.{k}" for k in range(20))))

    race([lambda n=n: write(n) for n in range(8)])

    rows = events(audit.events_for_dfid("f"))
    assert len(rows) == len(set(rows)) == 800
    for start in range(0, 800, 20):
        batch = rows[start].rpartition(".")[0]
        assert rows[start : start + 20] == [f"{batch}.{k}" for k in range(20)]


# Reading in pages


def test_iterating_an_empty_log_ends_at_once_and_the_cursor_is_the_beginning(audit):
    for iterator in (audit.iter_events(), audit.iter_events("f")):
        assert iterator.cursor == ""
        assert list(iterator) == []
        assert iterator.cursor == ""


def test_iterating_returns_the_rows_of_the_long_reads(audit):
    audit.record_many(of_many_flows(100))
    audit.record("f7", "more", details={"x": [1]}, root_dfid="r", severity="DEBUG")

    assert list(audit.iter_events()) == audit.all_events_chronological()
    assert list(audit.iter_events("f7")) == audit.events_for_dfid("f7")
    assert list(audit.iter_events(dfid=None, after="")) == audit.all_events_chronological()
    assert list(audit.iter_events("f7", after="")) == audit.events_for_dfid("f7")


def test_iterating_goes_over_the_borders_of_pages(audit):
    count = 2 * PAGE_ROWS + 1
    audit.record_many(of_many_flows(count))
    audit.record_many(numbered("long", *range(count)))

    rows = list(audit.iter_events())
    assert rows == audit.all_events_chronological()
    assert len(rows) == 2 * count
    assert events(audit.iter_events("long")) == [str(n) for n in range(count)]


@pytest.mark.parametrize("dfid", [None, "f"])
def test_a_cursor_goes_on_exactly_after_the_row_it_was_taken_at(audit, dfid):
    audit.record_many(numbered("f", *range(10)) if dfid else of_many_flows(10))
    whole = list(audit.iter_events(dfid))

    for read in range(11):
        iterator = audit.iter_events(dfid)
        first = list(itertools.islice(iterator, read))
        again = audit.iter_events(dfid, after=iterator.cursor)
        assert again.cursor == iterator.cursor
        assert first + list(again) == whole
        assert list(audit.iter_events(dfid, after=again.cursor)) == []


def test_every_cursor_of_a_log_of_several_pages_goes_on_without_loss_or_repeat(audit):
    audit.record_many(of_many_flows(PAGE_ROWS + 500))
    whole = audit.all_events_chronological()

    rows, cursor = [], ""
    while True:
        page = audit.iter_events(after=cursor)
        got = list(itertools.islice(page, 333))
        if not got:
            break
        rows, cursor = rows + got, page.cursor
    assert rows == whole


def test_rows_appended_while_iterating_come_too_or_later_but_once(audit):
    audit.record_many(of_many_flows(10))
    iterator = audit.iter_events()
    rows = list(itertools.islice(iterator, 5))
    audit.record_many(numbered("f3", "late", "later"))
    rows += iterator
    rows += audit.iter_events(after=iterator.cursor)

    assert sorted(events(rows)) == sorted([*map(str, range(10)), "late", "later"])


def test_an_iterator_that_has_ended_stays_ended(audit):
    audit.record("f", "e")
    iterator = audit.iter_events()
    assert events(iterator) == ["e"]
    audit.record("f", "later")

    assert list(iterator) == []


def test_a_flow_without_rows_between_others_has_none(audit):
    audit.record("f", "e")

    assert list(audit.iter_events("g")) == []


def test_rows_from_an_iterator_are_the_callers_own(audit):
    audit.record("f", "e", details={"steps": ["a"]})
    next(audit.iter_events())["details"]["steps"].append("b")

    assert next(audit.iter_events())["details"] == {"steps": ["a"]}


BAD_CURSORS = (
    "x",
    "-1",
    "1.5",
    " 1",
    "1 ",
    "\uff11",
    "1-1-1",
    "1,,2",
    ",",
    "1-",
    "-",
    "01",
    "9" * 30,
    f"{2**64}-0",
    f"0-{2**64}",
    f"{2**64 - 1}-{2**64 - 1}",
)


@pytest.mark.parametrize("cursor", [*BAD_CURSORS, "flow:1", "flow:1-1"])
def test_what_is_no_cursor_is_refused_at_once(audit, cursor):
    audit.record("f", "e")

    for use in (
        lambda: audit.iter_events(after=cursor),
        lambda: audit.follow(after=cursor),
        lambda: audit.commit_archived("g", cursor),
    ):
        with pytest.raises(
            ValueError, match=r"(after|cursor) (is no cursor of this store|must be)"
        ):
            use()
    assert audit.get_archived("g") is None


@pytest.mark.parametrize(
    "cursor",
    [
        *(*BAD_CURSORS, "flow:", "flow:x", "flow:01", "1", "1-1"),
        *(f"flow:{2**64}-0", f"flow:0-{2**64}", f"flow:{2**64 - 1}-{2**64 - 1}"),
    ],
)
def test_what_is_no_cursor_of_a_flow_is_refused_at_once(audit, cursor):
    with pytest.raises(ValueError, match=r"after (is no cursor of this store|must be)"):
        audit.iter_events("f", after=cursor)


def test_a_cursor_of_one_flows_rows_says_nothing_of_all_rows(audit):
    audit.record("f", "e")
    iterator = audit.iter_events("f")
    next(iterator)

    with pytest.raises(ValueError, match="after must be a cursor of all rows"):
        audit.iter_events(after=iterator.cursor)
    with pytest.raises(ValueError, match="cursor must be a cursor of all rows"):
        audit.commit_archived("g", iterator.cursor)


# Following


def test_follow_begins_with_the_next_row_from_the_call_on(audit):
    audit.record("f", "before")
    followed = audit.follow(timeout_sec=SECONDS)
    audit.record("f", "first")  # before the iterator is asked for anything
    audit.record("g", "second")

    assert events(itertools.islice(followed, 2)) == ["first", "second"]


def test_follow_from_a_cursor_begins_with_what_is_there_already(audit):
    audit.record_many(of_many_flows(10))
    iterator = audit.iter_events()
    whole = list(iterator)

    assert list(audit.follow(after="", timeout_sec=0)) == whole
    assert list(audit.follow(after=iterator.cursor, timeout_sec=0)) == []


def test_follow_reads_a_long_backlog_in_order(audit):
    audit.record_many(of_many_flows(PAGE_ROWS + 500))

    assert list(audit.follow(after="", timeout_sec=0)) == audit.all_events_chronological()


def test_follow_ends_after_so_long_without_a_row_and_stays_ended(audit):
    followed = audit.follow(timeout_sec=0.1)
    began = time.monotonic()

    assert list(followed) == []
    assert 0.1 <= time.monotonic() - began < 5
    audit.record("f", "late")
    assert list(followed) == []


def test_a_cursor_of_follow_goes_on_where_it_stood(audit):
    audit.record("f", "before")
    followed = audit.follow(timeout_sec=SECONDS)
    start = followed.cursor
    audit.record_many(of_many_flows(4))
    got = list(itertools.islice(followed, 2))

    assert got + list(audit.iter_events(after=followed.cursor)) == list(
        audit.iter_events(after=start)
    )
    assert len(list(audit.follow(after=followed.cursor, timeout_sec=0))) == 2


def test_a_follower_sees_each_row_in_order_and_soon(audit):
    """Each row is appended when the one before was seen: so each is waited for."""
    followed = audit.follow(timeout_sec=SECONDS)
    seen = threading.Semaphore(0)
    got, delays, appended_at = [], [], [0.0]

    def follow():
        for row in itertools.islice(followed, 10):
            delays.append(time.monotonic() - appended_at[0])
            got.append(row["event"])
            seen.release()

    follower = threading.Thread(target=follow)
    follower.start()
    for number in range(10):
        appended_at[0] = time.monotonic()
        audit.record(flow_in_turn(number), str(number))
        assert seen.acquire(timeout=SECONDS)
    follower.join(SECONDS)

    assert got == [str(number) for number in range(10)]
    # Half a second is promised; a median tells a wait from a poll on a busy machine.
    assert sorted(delays)[5] < 0.25
    assert max(delays) < 2


def test_every_follower_sees_every_row_of_concurrent_writers_once(audit, race):
    followers = [audit.follow(timeout_sec=SECONDS) for _ in range(3)]
    per_writer, writers = 25, 4

    def write(n):
        for turn in range(per_writer):
            audit.record(f"f{n}", f"{n}.{turn}")

    def read(follower):
        return events(itertools.islice(follower, per_writer * writers))

    work = [lambda n=n: write(n) for n in range(writers)]
    results = race(work + [lambda one=one: read(one) for one in followers])

    everything = sorted(f"{n}.{turn}" for n in range(writers) for turn in range(per_writer))
    for got in results[writers:]:
        assert sorted(got) == everything
        for n in range(writers):
            own = [event for event in got if event.startswith(f"{n}.")]
            assert own == [f"{n}.{turn}" for turn in range(per_writer)]


# Reader groups


def test_an_unknown_group_has_archived_nothing_not_even_registered(audit):
    assert audit.get_archived("g") is None
    assert audit.forget_group("g") is None


def test_a_registered_group_has_archived_nothing_yet(audit):
    assert audit.commit_archived("g", "") is None

    assert audit.get_archived("g") == ""
    assert audit.get_archived("h") is None


def test_a_group_has_archived_up_to_the_cursor_it_committed(audit):
    audit.record_many(of_many_flows(5))
    iterator = audit.iter_events()
    next(iterator)
    audit.commit_archived("g", iterator.cursor)

    assert audit.get_archived("g") == iterator.cursor
    assert len(list(audit.iter_events(after=audit.get_archived("g")))) == 4


def test_a_groups_cursor_only_moves_forward(audit):
    audit.record_many(numbered("f", *range(12)))
    iterator = audit.iter_events()
    cursors = []
    for _ in iterator:
        cursors.append(iterator.cursor)
    audit.commit_archived("g", cursors[10])
    for earlier in ("", cursors[0], cursors[8], cursors[9]):
        audit.commit_archived("g", earlier)
        assert audit.get_archived("g") == cursors[10]
    audit.commit_archived("g", cursors[11])

    assert audit.get_archived("g") == cursors[11]


def test_a_forgotten_group_is_unknown_again(audit):
    audit.record("f", "e")
    iterator = audit.iter_events()
    next(iterator)
    audit.commit_archived("g", iterator.cursor)
    audit.commit_archived("h", "")
    audit.forget_group("g")

    assert audit.get_archived("g") is None
    assert audit.get_archived("h") == ""


@pytest.mark.parametrize("group", ["a:b", "{a}", "*", "\0", "😀", "é" * 512])
def test_a_group_may_have_any_name(audit, group):
    audit.commit_archived(group, "")

    assert audit.get_archived(group) == ""
    assert audit.get_archived(group[:-1] or "x") is None


def test_rows_nobody_can_have_archived_yet_cannot_be_committed(audit):
    """A slip here would let rows go that were never archived."""
    audit.record("f", "e")
    iterator = audit.iter_events()
    next(iterator)
    digits = {"0": "1", "1": "2", "2": "3", "3": "4", "4": "5", "5": "6", "6": "7", "7": "8"}
    ahead = ",".join(
        digits.get(place[0], "9") + place[1:] if place != "0-0" else place
        for place in iterator.cursor.split(",")
    )
    audit.commit_archived("g", "")

    with pytest.raises(ValueError, match="cursor is no cursor of this store"):
        audit.commit_archived("g", ahead)

    assert audit.get_archived("g") == ""
    assert audit.trim(max_rows=0) == 0


# Trimming


def test_a_trim_without_a_limit_is_refused(audit):
    audit.record("f", "e")

    with pytest.raises(ValueError, match="give older_than_sec or max_rows"):
        audit.trim()

    assert events(audit.all_events_chronological()) == ["e"]


def test_trimming_an_empty_log_drops_nothing(audit):
    assert audit.trim(max_rows=0) == 0
    assert audit.trim(older_than_sec=0.001) == 0


def test_max_rows_keeps_the_newest(audit):
    audit.record_many(numbered("f", *range(10)))

    assert audit.trim(max_rows=10) == 0
    assert audit.trim(max_rows=4) == 6
    assert audit.trim(max_rows=4) == 0
    assert events(audit.events_for_dfid("f")) == ["6", "7", "8", "9"]
    assert events(audit.all_events_chronological()) == ["6", "7", "8", "9"]
    assert events(audit.iter_events("f")) == ["6", "7", "8", "9"]


def test_older_than_drops_by_age(audit):
    audit.record_many(numbered("f", "old", "older"))
    assert audit.trim(older_than_sec=3600) == 0
    time.sleep(0.05)  # the age itself
    audit.record("f", "young")

    dropped = audit.trim(older_than_sec=0.04)

    assert dropped in (2, 3)  # 3 if this machine paused for 40 ms just now
    assert events(audit.events_for_dfid("f")) == ["young"][: 3 - dropped]


def test_of_two_limits_the_one_that_drops_more_counts(audit):
    audit.record_many(numbered("f", *range(10)))

    assert audit.trim(older_than_sec=3600, max_rows=7) == 3
    time.sleep(0.01)  # the age
    assert audit.trim(older_than_sec=0.001, max_rows=7) == 7


def test_all_rows_of_all_flows_can_be_dropped_and_the_log_goes_on(audit):
    audit.record_many(of_many_flows(1300))
    iterator = audit.iter_events()
    assert len(list(iterator)) == 1300

    assert audit.trim(max_rows=0) == 1300
    assert audit.all_events_chronological() == []
    assert audit.events_for_dfid("f7") == []
    audit.record("f7", "next")

    assert events(audit.iter_events(after=iterator.cursor)) == ["next"]
    assert events(audit.iter_events("f7")) == ["next"]
    assert events(audit.follow(after="", timeout_sec=0)) == ["next"]


def test_nothing_is_dropped_that_a_group_has_not_archived(audit):
    audit.record_many(numbered("f", *range(10)))
    iterator = audit.iter_events()
    list(itertools.islice(iterator, 4))
    audit.commit_archived("slow", "")
    audit.commit_archived("quick", iterator.cursor)

    assert audit.trim(max_rows=0) == 0
    audit.commit_archived("slow", iterator.cursor)
    assert audit.trim(max_rows=0) == 4
    assert events(audit.events_for_dfid("f")) == ["4", "5", "6", "7", "8", "9"]
    list(iterator)
    audit.commit_archived("slow", iterator.cursor)
    assert audit.trim(max_rows=0) == 0
    audit.forget_group("quick")
    assert audit.trim(max_rows=1) == 5
    assert events(audit.events_for_dfid("f")) == ["9"]


def test_a_group_holds_back_only_what_it_has_not_archived_of_many_flows(audit):
    audit.record_many(of_many_flows(100))
    iterator = audit.iter_events()
    archived = events(itertools.islice(iterator, 37))
    audit.commit_archived("g", iterator.cursor)

    assert audit.trim(max_rows=0) == 37
    left = events(audit.all_events_chronological())
    assert sorted(left + archived, key=int) == [str(n) for n in range(100)]
    for flow in {flow_in_turn(n) for n in range(100)}:
        own = [str(n) for n in range(100) if flow_in_turn(n) == flow and str(n) in left]
        assert events(audit.events_for_dfid(flow)) == own


@pytest.mark.parametrize("dfid", [None, "f"])
def test_an_iterator_skips_what_was_trimmed_meanwhile_and_nothing_else(audit, dfid):
    count = PAGE_ROWS + 100
    audit.record_many(numbered("f", *range(count)))
    iterator = audit.iter_events(dfid)
    first = events(itertools.islice(iterator, 10))
    cursor = iterator.cursor

    assert audit.trim(max_rows=50) == count - 50
    rest = events(iterator)

    assert first == [str(n) for n in range(10)]
    # One page was read already; what it held comes, and then what is left.
    assert rest[-50:] == [str(n) for n in range(count - 50, count)]
    assert rest == sorted(set(rest), key=int)
    assert events(audit.iter_events(dfid, after=cursor)) == rest[-50:]


def test_trims_at_once_drop_each_row_once_and_count_exactly(audit, race):
    audit.record_many(of_many_flows(1500))
    keep = {"max_rows": 0}

    counts = race([lambda: audit.trim(**keep) for _ in range(6)])

    assert sum(counts) == 1500
    assert audit.all_events_chronological() == []


def test_trimming_while_others_append_and_read_breaks_nothing(audit, race):
    audit.commit_archived("g", "")
    writing = threading.Event()
    writing.set()
    left_to_write = threading.Semaphore(0)

    def write(n):
        for turn in range(40):
            audit.record_many(numbered(f"f{n}", f"{turn}.0", f"{turn}.1"))
            audit.record(f"f{n}", f"{turn}.2")
        left_to_write.release()

    def archive():
        dropped, archived, cursor = 0, [], ""
        done = 0
        while True:
            done += left_to_write.acquire(blocking=False)
            last_look = done == 3
            iterator = audit.iter_events(after=cursor)
            archived += [(row["dfid"], row["event"]) for row in iterator]
            cursor = iterator.cursor
            audit.commit_archived("g", cursor)
            dropped += audit.trim(max_rows=0)
            audit.events_for_dfid("f1")  # never meets an id without its row
            if last_look:
                return dropped, archived

    results = race([lambda n=n: write(n) for n in range(3)] + [archive])

    dropped, archived = results[-1]
    assert dropped == len(archived) == 3 * 120
    for n in range(3):
        own = [event for flow, event in archived if flow == f"f{n}"]
        assert own == [f"{turn}.{k}" for turn in range(40) for k in range(3)]
    assert audit.all_events_chronological() == []
