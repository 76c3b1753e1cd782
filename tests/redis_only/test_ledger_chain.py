"""No byte of the stored ledger can change without its verification naming where."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from dir_redis import ChainReport, CorruptRecordError, StorageBundle, open_storage
from dir_redis.redis.connection import connect
from tests.conformance.test_decision_ledger import Intent
from tests.redis_only.conftest import commands_sent
from tests.servers import keys_of

SEED = 20261126
ENTRIES = 8


@pytest.fixture
def tag(namespace: str) -> str:
    return f"{{{namespace}:0}}:"


@pytest.fixture
def written(store: StorageBundle) -> StorageBundle:
    """A store whose ledger has some entries."""
    for number in range(1, ENTRIES + 1):
        intent = Intent(f"f{number}", {"shares": number, "é": [None, 1.5]}, f"c{number}", "e", "s")
        store.decision_ledger.append(intent, agent_id="agent", root_dfid=f"root-{number}")
    return store


class Tampering:
    """Writes a ledger's stream anew with some entries changed, as no command could in place."""

    def __init__(self, raw: Any, tag: str) -> None:
        self._raw, self._log = raw, f"{tag}ledger"
        self.entries: list[tuple[bytes, list[bytes]]] = [
            (entry_id, [word for pair in fields.items() for word in pair])
            for entry_id, fields in raw.xrange(self._log)
        ]

    def record(self, entry: int) -> str:
        return f"{self._log} {self.entries[entry][0].decode()}"

    def store(self, entries: list[tuple[bytes, list[bytes]]]) -> None:
        with self._raw.pipeline(transaction=False) as pipeline:
            pipeline.delete(self._log)
            for entry_id, words in entries:
                pipeline.execute_command("XADD", self._log, entry_id, *words)
            pipeline.execute()


@pytest.fixture
def tampering(written: StorageBundle, raw: Any, tag: str) -> Tampering:
    assert written.decision_ledger.count_entries() == ENTRIES
    return Tampering(raw, tag)


@pytest.fixture
def verify(written: StorageBundle) -> Callable[[], ChainReport]:
    return written.decision_ledger.verify_ledger


def flipped(word: bytes, at: int, by: int) -> bytes:
    return word[:at] + bytes([word[at] ^ by]) + word[at + 1 :]


def test_every_single_byte_of_every_entry_counts(
    tampering: Tampering, verify: Callable[[], ChainReport]
) -> None:
    chance = random.Random(SEED)
    whole = tampering.entries
    places = [
        (entry, word, at)
        for entry, (_, words) in enumerate(whole)
        for word, content in enumerate(words)
        for at in range(len(content))
    ]
    assert len(places) > 1500

    for entry, word, at in places:
        by = 1 << chance.randrange(8)
        entry_id, words = whole[entry]
        changed = list(whole)
        changed[entry] = (
            entry_id,
            [*words[:word], flipped(words[word], at, by), *words[word + 1 :]],
        )
        tampering.store(changed)
        broken_at = verify().broken_at
        assert broken_at is not None, (entry, words[word], at, by)
        assert broken_at.number == entry + 1
        assert broken_at.record == tampering.record(entry)
        assert broken_at.problem.startswith("changed"), (entry, words[word], at, by)

    tampering.store(whole)
    assert verify().intact


def test_a_moved_moment_counts(tampering: Tampering, verify: Callable[[], ChainReport]) -> None:
    for entry, (entry_id, words) in enumerate(tampering.entries):
        milliseconds, sequence = entry_id.split(b"-")
        later = b"%s-%d" % (milliseconds, int(sequence) + 1)
        changed = list(tampering.entries)
        changed[entry] = (later, words)
        tampering.store(changed)

        broken_at = verify().broken_at
        assert broken_at is not None
        assert broken_at.number == entry + 1
        assert broken_at.dfid == f"f{entry + 1}"


def test_a_missing_entry_is_named_by_its_number(
    tampering: Tampering, verify: Callable[[], ChainReport]
) -> None:
    for entry in range(ENTRIES):
        tampering.store(tampering.entries[:entry] + tampering.entries[entry + 1 :])

        broken_at = verify().broken_at
        assert broken_at is not None
        assert (broken_at.number, broken_at.problem) == (entry + 1, "missing")


def test_entries_missing_at_the_end_are_missed(
    tampering: Tampering, verify: Callable[[], ChainReport]
) -> None:
    tampering.store([])

    report = verify()
    assert report.verified == 0
    assert report.broken_at is not None
    assert (report.broken_at.number, report.broken_at.problem) == (1, "missing")


def test_swapped_doubled_and_added_entries_count(
    tampering: Tampering, verify: Callable[[], ChainReport]
) -> None:
    ids = [entry_id for entry_id, _ in tampering.entries]
    words = [content for _, content in tampering.entries]
    swapped = list(zip(ids, [*words[:3], words[4], words[3], *words[5:]], strict=True))
    after = b"%s-0" % str(int(ids[-1].split(b"-")[0]) + 1).encode()
    for changed, number in (
        (swapped, 4),
        ([*tampering.entries, (after, words[2])], ENTRIES + 1),
        ([*tampering.entries, (after, [b"dfid", b"forged"])], ENTRIES + 1),
    ):
        tampering.store(changed)

        broken_at = verify().broken_at
        assert broken_at is not None
        assert broken_at.number == number


def test_every_byte_of_the_chains_end_counts(
    written: StorageBundle, raw: Any, tag: str, verify: Callable[[], ChainReport]
) -> None:
    end = raw.hgetall(f"{tag}ledger_end")
    assert set(end) == {b"number", b"link"}
    for field, content in end.items():
        for at in range(len(content)):
            raw.hset(f"{tag}ledger_end", field, flipped(content, at, 1))
            broken_at = verify().broken_at
            assert broken_at is not None, (field, at)
            raw.hset(f"{tag}ledger_end", field, content)
    raw.delete(f"{tag}ledger_end")

    broken_at = verify().broken_at
    assert broken_at is not None
    with pytest.raises(CorruptRecordError, match="ledger_end"):
        written.decision_ledger.append(Intent("next"), agent_id="a")


def test_a_beginning_that_claims_entries_were_trimmed_counts(
    tampering: Tampering, raw: Any, tag: str, verify: Callable[[], ChainReport]
) -> None:
    (_, words), *rest = tampering.entries
    fields = dict(zip(words[::2], words[1::2], strict=True))
    tampering.store(rest)
    raw.delete(f"{tag}ledger_flow:f1")
    raw.hset(
        f"{tag}ledger_end",
        mapping={"trimmed_number": fields[b"number"], "trimmed_link": fields[b"link"]},
    )

    broken_at = verify().broken_at
    assert broken_at is not None
    assert (broken_at.number, broken_at.problem) == (1, "missing")


def test_an_end_whose_number_was_raised_is_itself_named(
    written: StorageBundle, raw: Any, tag: str, verify: Callable[[], ChainReport]
) -> None:
    raw.hset(f"{tag}ledger_end", "number", ENTRIES + 1)

    broken_at = verify().broken_at
    assert broken_at is not None
    assert broken_at.record == f"{tag}ledger_end"
    assert written.decision_ledger.count_entries() == ENTRIES


def test_a_flow_changed_to_one_of_another_partition_is_named(
    redis_url: str, namespace: str
) -> None:
    with (
        open_storage(redis_url, namespace=namespace, partitions=5) as bundle,
        connect(redis_url, attempt_timeout_sec=5).client as client,
    ):
        for number in range(20):
            bundle.decision_ledger.append(Intent(f"f{number}"), agent_id="a")
        tampering = Tampering(client, f"{{{namespace}:3}}:")
        entry_id, words = tampering.entries[0]
        named = words[1].decode()
        for at in range(8):
            tampering.store(
                [(entry_id, [words[0], flipped(words[1], 1, 1 << at), *words[2:]])]
                + tampering.entries[1:]
            )
            report = bundle.decision_ledger.verify_ledger()
            assert report.broken_at is not None, (named, at)
            assert report.broken_at.record == tampering.record(0)


def test_an_index_that_leads_elsewhere_counts(
    written: StorageBundle, raw: Any, tag: str, verify: Callable[[], ChainReport]
) -> None:
    [other] = raw.lrange(f"{tag}ledger_flow:f2", 0, -1)
    [own] = raw.lrange(f"{tag}ledger_flow:f3", 0, -1)
    for ids in ([other], [], [own, own], [b"x"]):
        raw.delete(f"{tag}ledger_flow:f3")
        for one in ids:
            raw.rpush(f"{tag}ledger_flow:f3", one)

        broken_at = verify().broken_at
        assert broken_at is not None
        assert (broken_at.record, broken_at.dfid) == (f"{tag}ledger_flow:f3", "f3")
    raw.delete(f"{tag}ledger_flow:f3")
    raw.rpush(f"{tag}ledger_flow:f3", other)
    with pytest.raises(CorruptRecordError, match="ledger_flow:f3"):
        written.decision_ledger.get_by_dfid("f3")


def test_an_entry_whose_log_forgot_it_is_no_new_entry(
    written: StorageBundle, tampering: Tampering
) -> None:
    tampering.store(tampering.entries[:-1])

    with pytest.raises(CorruptRecordError, match=f"ledger_flow:f{ENTRIES}"):
        written.decision_ledger.append(Intent(f"f{ENTRIES}"), agent_id="a")


def test_a_clock_that_went_back_leaves_the_order_and_the_chain(
    written: StorageBundle, raw: Any, tag: str, verify: Callable[[], ChainReport]
) -> None:
    # As if the last entry had been written an hour ahead: the next gets the id after it.
    [(last, _)] = raw.xrevrange(f"{tag}ledger", count=1)
    ahead = b"%d-999999" % (int(last.split(b"-")[0]) + 3_600_000)
    raw.execute_command("XADD", f"{tag}ledger", ahead, "x", "y")
    raw.xdel(f"{tag}ledger", ahead)

    written.decision_ledger.append(Intent("next"), agent_id="a")

    [(latest, _)] = raw.xrevrange(f"{tag}ledger", count=1)
    assert latest == ahead.replace(b"-999999", b"-1000000")
    assert verify().intact


@pytest.mark.parametrize("kind", ["ledger", "ledger_flow:new", "ledger_end"])
def test_a_key_of_another_type_is_met_before_anything_is_written(
    written: StorageBundle, raw: Any, tag: str, namespace: str, kind: str
) -> None:
    raw.delete(f"{tag}{kind}")
    raw.set(f"{tag}{kind}", "garbage")
    before = {key: raw.dump(key) for key in keys_of(raw, namespace) if b"}:op:" not in key}

    with pytest.raises(CorruptRecordError, match=kind):
        written.decision_ledger.append(Intent("new"), agent_id="a")

    after = {key: raw.dump(key) for key in keys_of(raw, namespace) if b"}:op:" not in key}
    assert after == before


def test_appending_is_one_round_trip(store: StorageBundle) -> None:
    store.decision_ledger.append(Intent("warm-up"), agent_id="a")
    store.decision_ledger.get_by_dfid("warm-up")
    with commands_sent(store) as sent:
        store.decision_ledger.append(Intent("f"), agent_id="a")
        store.decision_ledger.append(Intent("f"), agent_id="a")
        store.decision_ledger.get_by_dfid("f")
        store.decision_ledger.count_entries()

    assert [command[0] for command in sent] == ["EVALSHA", "EVALSHA", "EVALSHA", "XLEN"]
