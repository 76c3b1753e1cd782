"""The escalation budget: tokens per agent, counted from a moment on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

LONG_AGO = "2000-01-01 00:00:00"
FAR_AHEAD = "2999-12-31 23:59:59"


@pytest.fixture
def moment_between_two_tokens(escalation, audit):
    """The agent spends a token, a moment passes, and it spends another."""
    escalation.record_budget_token("agent")
    audit.record("clock", "tick")
    (first,) = audit.events_for_dfid("clock")
    while True:
        audit.record("clock", "tick")
        moment = audit.events_for_dfid("clock")[-1]["timestamp"]
        if moment > first["timestamp"]:
            break
    escalation.record_budget_token("agent")
    return datetime.fromisoformat(moment)


def test_an_agent_without_tokens_has_a_count_of_0(escalation):
    assert escalation.get_window_count("agent", LONG_AGO) == 0


def test_record_budget_token_returns_nothing(escalation):
    assert escalation.record_budget_token("agent") is None


def test_every_token_counts(escalation):
    for _ in range(50):
        escalation.record_budget_token("agent")

    assert escalation.get_window_count("agent", LONG_AGO) == 50
    assert type(escalation.get_window_count("agent", LONG_AGO)) is int


def test_tokens_before_the_window_do_not_count(escalation):
    escalation.record_budget_token("agent")

    assert escalation.get_window_count("agent", FAR_AHEAD) == 0


def test_tokens_are_not_shared_between_agents(escalation):
    escalation.record_budget_token("a")
    escalation.record_budget_token("a")
    escalation.record_budget_token("b")

    assert escalation.get_window_count("a", LONG_AGO) == 2
    assert escalation.get_window_count("b", LONG_AGO) == 1
    assert escalation.get_window_count("c", LONG_AGO) == 0


def test_counting_spends_nothing(escalation):
    escalation.record_budget_token("agent")

    assert [escalation.get_window_count("agent", LONG_AGO) for _ in range(3)] == [1, 1, 1]
    assert escalation.get_window_count("agent", FAR_AHEAD) == 0
    assert escalation.get_window_count("agent", LONG_AGO) == 1


def test_tokens_recorded_at_once_all_count(escalation, race):
    def spend():
        for _ in range(10):
            escalation.record_budget_token("agent")

    race([spend] * 16)

    assert escalation.get_window_count("agent", LONG_AGO) == 160


@pytest.mark.parametrize(
    "form",
    [
        lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}",
        lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%f}",
        lambda moment: f"{moment:%Y-%m-%d %H:%M:%S.%f}",
        lambda moment: f"{moment:%Y-%m-%d %H:%M:%S.%f}Z",
        lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%f}+00:00",
        lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%f}-00:00",
        lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%f}000",
        lambda moment: moment.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(),
        lambda moment: moment.astimezone(timezone(timedelta(hours=-8))).isoformat(" "),
        lambda moment: f"{moment.astimezone(timezone(timedelta(hours=2))):%Y-%m-%dT%H:%M:%S.%f}+02",
        lambda moment: f"{moment.astimezone(timezone(timedelta(hours=-2))):%Y-%m-%dT%H:%M:%S.%f%z}",
    ],
)
def test_every_form_of_a_moment_separates_the_tokens_before_it_from_those_after(
    escalation, moment_between_two_tokens, form
):
    since = form(moment_between_two_tokens)

    assert escalation.get_window_count("agent", since) == 1


@pytest.mark.usefixtures("caller_in_tokyo")
def test_a_moment_without_a_zone_is_utc_whatever_the_callers_time_zone(
    escalation, moment_between_two_tokens
):
    assert moment_between_two_tokens.tzinfo is not None
    since = f"{moment_between_two_tokens:%Y-%m-%d %H:%M:%S.%f}"

    assert escalation.get_window_count("agent", since) == 1


@pytest.mark.parametrize(("seconds", "count"), [(-60, 2), (60, 0)])
def test_a_window_of_whole_seconds_counts_what_lies_in_it(
    escalation, moment_between_two_tokens, seconds, count
):
    since = moment_between_two_tokens + timedelta(seconds=seconds)

    assert escalation.get_window_count("agent", f"{since:%Y-%m-%d %H:%M:%S}") == count


def test_a_token_counts_at_its_very_moment_and_not_a_nanosecond_later(escalation):
    escalation.record_budget_token("agent")
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    def at(microseconds, finer=""):
        return f"{epoch + timedelta(microseconds=microseconds):%Y-%m-%dT%H:%M:%S.%f}{finer}"

    counts, counts_not = 0, 2**55
    while counts_not - counts > 1:
        middle = (counts + counts_not) // 2
        if escalation.get_window_count("agent", at(middle)):
            counts = middle
        else:
            counts_not = middle

    assert escalation.get_window_count("agent", at(counts, "000")) == 1
    assert escalation.get_window_count("agent", at(counts, "001")) == 0


@pytest.mark.parametrize(
    "since",
    [
        "0001-01-01 00:00:00",
        "1970-01-01T00:00:00Z",
        "1969-12-31 23:59:59.999999",
        "2024-02-29 12:00:00",
        "2000-01-01T00:00:00.5",
        "2000-01-01T00:00:00.123456789Z",
        "0001-01-01 00:00:00+14:00",
    ],
)
def test_a_moment_long_ago_counts_everything(escalation, since):
    escalation.record_budget_token("agent")

    assert escalation.get_window_count("agent", since) == 1


@pytest.mark.parametrize("since", ["9999-12-31 23:59:59.999999", "9999-12-31T23:59:59-14:00"])
def test_a_moment_far_ahead_counts_nothing(escalation, since):
    escalation.record_budget_token("agent")

    assert escalation.get_window_count("agent", since) == 0


@pytest.mark.parametrize(
    "since",
    [
        "",
        " ",
        "now",
        "0",
        "-inf",
        "+",
        "1763913600",
        "2026-11-23",
        "16:00:00",
        "2026-11-23 16:00",
        "2026-11-23  16:00:00",
        " 2026-11-23 16:00:00",
        "2026-11-23 16:00:00 ",
        "2026-11-23 16:00:00\n",
        "2026-11-23 16:00:00\0",
        "2026-11-23_16:00:00",
        "2026/11/23 16:00:00",
        "23.11.2026 16:00:00",
        "2026-11-23 16:00:00 PM",
        "2026-11-23T16:00:00 UTC",
        "2026-11-23T16:00:00.Z",
        "2026-11-23T16:00:00ZZ",
        "2026-11-23T16:00:00+1",
        "2026-11-23T16:00:00+24:00",
        "2026-11-23T16:00:00+02:60",
        "2026-13-01 00:00:00",
        "2026-02-29 00:00:00",
        "2026-11-31 00:00:00",
        "2026-11-23 25:00:00",
        "2026-11-23 16:60:00",
        "2026-11-23 16:00:61",
        "0000-01-01 00:00:00",
        "10000-01-01 00:00:00",
        "２０２６-11-23 16:00:00",  # noqa: RUF001
        "\ud800",
    ],
)
def test_what_is_no_moment_is_a_value_error(escalation, since):
    with pytest.raises(ValueError, match="since_str"):
        escalation.get_window_count("agent", since)
