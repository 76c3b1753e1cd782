"""Records are the same if every caller gets the same answers, whatever a backend keeps besides."""

from __future__ import annotations

import pytest

from dir_redis.migrate.compare import Verdict, compare
from dir_redis.migrate.flows import FlowRows
from dir_redis.migrate.records import (
    AuditRow,
    Counter,
    DirtyMark,
    IdempotencyKey,
    Keyed,
    Request,
    Session,
)

NOW = 1_000_000

SESSION = Session("f", '{"a": 1, "b": 2}', 1, 3, "a", 5_000_000)
KEY = IdempotencyKey("k", "{}", 9_000_000, 7, None, 0, "print", True, 9_000_000)
MARK = DirtyMark("f", "step", "{}", 10, 10, 4, None)
REQUEST = Request(
    *("f", "a", "", "{}", "{}", "", 10, None, None, "anna", 2_000_000, "PENDING"),
    *(None, None, None, None, None, False),
)
DECIDED = REQUEST._replace(status="RESOLVED", decision="YES", resolved_us=1_500_000)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SESSION._replace(base_keys=None), SESSION._replace(base_keys=2)),
        (SESSION, SESSION._replace(expires_us=5_000_999)),
        (KEY._replace(result_json=None, result_until_us=None),) * 2,
        (
            KEY._replace(result_json=None, result_until_us=None),
            KEY._replace(result_json=None, result_until_us=None, fingerprint=None),
        ),
        (MARK, MARK._replace(epoch=0)),
        (
            REQUEST._replace(reviewer_until_us=NOW),
            REQUEST._replace(reviewer=None, reviewer_until_us=0),
        ),
        (DECIDED, DECIDED._replace(resolved_at="1970-01-01T00:00:01.500000Z", resolved_us=None)),
        (DECIDED, DECIDED._replace(reviewer=None, reviewer_until_us=0)),
        (Counter("sagas", 5), Counter("sagas", 6)),
    ],
)
def test_these_are_the_same(one: Keyed, other: Keyed) -> None:
    assert compare(one, other, NOW).verdict is Verdict.SAME


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SESSION, SESSION._replace(base_keys=None)),
        (SESSION, SESSION._replace(expires_us=6_000_000)),
        (SESSION, SESSION._replace(data_json='{"a": 1, "b": 2} ')),
        (SESSION, SESSION._replace(expires_us=None)),
        (SESSION, SESSION._replace(agent_id=None)),
        (KEY, KEY._replace(fingerprint=None)),
        (KEY, KEY._replace(token=8)),
        (MARK._replace(owner="h", due_us=99), MARK._replace(owner="h", due_us=99, epoch=0)),
        (MARK, MARK._replace(marked_us=9)),
        (REQUEST, REQUEST._replace(reviewer_until_us=2_000_001)),
        (DECIDED, DECIDED._replace(resolved_at="then", resolved_us=None)),
        (Counter("sagas", 5), Counter("sagas", 4)),
    ],
)
def test_these_differ(one: Keyed, other: Keyed) -> None:
    assert compare(one, other, NOW).verdict is Verdict.DIFFERENT


def test_what_moved_a_little_is_said() -> None:
    moved = compare(MARK, MARK._replace(marked_us=15, due_us=15), NOW)

    assert moved == (Verdict.MOVED, "marked_us is 5 µs later, to keep the order")
    late = compare(SESSION, SESSION._replace(expires_us=5_001_000), NOW)
    assert late == (Verdict.MOVED, "expires_us is 1000 µs off")


def test_a_row_is_the_one_at_its_place_or_later_but_never_earlier() -> None:
    row = AuditRow("f", 100, "E", "", "", "{}", None, "a", "INFO")
    held = FlowRows([row, row._replace(moment_us=150, root_dfid="f")])

    assert held.at(0, row) == (Verdict.SAME, "")
    assert held.at(1, row) == (Verdict.MOVED, "its moment is 50 µs later, to keep the order")
    for other in (row._replace(moment_us=101), row._replace(agent_id=None)):
        comparison = held.at(0, other)
        assert comparison is not None
        assert comparison.verdict is Verdict.DIFFERENT
    assert held.at(2, row) is None
    assert held.at(0, row._replace(dfid="g")) is None
