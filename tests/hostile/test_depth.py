"""JSON nested almost too deeply for Python: what is taken can be read, wherever it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dir_redis import StorageBundle
from tests.hostile.conftest import Open


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def deepest() -> int:
    """How deeply Python can parse from here."""
    parses, fails = 1, 1_000_000
    while fails - parses > 1:
        depth = (parses + fails) // 2
        try:
            json.loads(nested(depth))
            parses = depth
        except RecursionError:
            fails = depth
    return parses


WRITES: dict[str, Callable[[StorageBundle, str], Any]] = {
    "session": lambda b, text: b.context.set_session("f", text),
    "updates": lambda b, text: b.context.merge_session("merged", {"a": json.loads(text)}),
    "result": lambda b, text: b.idempotency.set("k", json.loads(text)),
    "context": lambda b, text: b.escalation.insert_request("f", "a", "", text, "{}", ""),
    "partial state": lambda b, text: b.saga.mark_dirty("f", "step", text),
    "contract": lambda b, text: b.agent_registry.register("a", text, 1),
}


@pytest.mark.parametrize("name", WRITES)
def test_what_only_a_shallow_stack_could_read_is_refused(name: str, open_same: Open) -> None:
    bundle = open_same()

    with pytest.raises(ValueError, match=r"JSON|nested"):
        WRITES[name](bundle, nested(deepest() - 150))


def test_what_is_less_deep_is_read_within_other_documents(open_same: Open) -> None:
    bundle = open_same()
    text = nested(deepest() - 300)

    for write in WRITES.values():
        write(bundle, text)

    request = bundle.escalation.get_request("f")
    assert request is not None
    assert request["context"] == json.loads(text)
    assert bundle.idempotency.get("k") == json.loads(text)
