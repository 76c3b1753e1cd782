"""No rejection is lost in counting."""

from __future__ import annotations

from dir_redis.kernel import IntentRetryGovernor


def test_rejections_are_counted_until_the_flow_must_be_aborted(bundle):
    governor = IntentRetryGovernor(max_retries=2, storage=bundle.intent_retry)

    assert (governor.record_rejection("f"), governor.should_abort("f")) == (1, False)
    assert (governor.record_rejection("f"), governor.should_abort("f")) == (2, True)
    assert (governor.record_rejection("g"), governor.should_abort("h")) == (1, False)
    governor.reset("f")
    assert (governor.should_abort("f"), governor.record_rejection("f")) == (False, 1)


def test_no_rejection_of_8_hosts_is_lost_and_each_count_is_told_once(bundle, race):
    def work():
        mine = IntentRetryGovernor(storage=bundle.intent_retry)
        return [mine.record_rejection("f") for _ in range(10)]

    told = [count for counts in race([work] * 8) for count in counts]
    assert sorted(told) == list(range(1, 81))
    assert bundle.intent_retry.get_count("f") == 80


def test_without_a_storage_it_counts_in_this_process_safely(race):
    governor, other = IntentRetryGovernor(), IntentRetryGovernor()

    told = race([lambda: governor.record_rejection("f")] * 16)
    assert sorted(told) == list(range(1, 17))
    assert not other.should_abort("f")
