"""The code in docs/moving.md runs, and prints what the comments beside it say."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.sqlite_only.conftest import TABLES_OF_0_1_0

MOVING = (Path(__file__).parents[2] / "docs" / "moving.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", MOVING, re.S)

ROWS = """
    INSERT INTO agent_registry (agent_id) VALUES ('trader-1'), ('trader-2');
    INSERT INTO context_session (dfid, data) VALUES ('flow-1', '{}');
    INSERT INTO intent_retry (dfid, rejection_count) VALUES ('flow-1', 4);
    INSERT INTO resource_locks (dfid, resource_id, amount) VALUES ('flow-1', 'capital', 60000);
    INSERT INTO flow_transitions (dfid, from_status, to_status)
        VALUES ('flow-1', 'CREATED', 'ACTIVE'), ('flow-1', 'ACTIVE', 'CLOSED');
    INSERT INTO decision_audit_events (dfid, event, timestamp)
        VALUES ('flow-1', 'STARTED', '2026-01-01T10:00:00.000000Z'),
               ('flow-1', 'ENDED', '2026-01-01T10:00:01.000000Z');
"""


@pytest.mark.parametrize("code", EXAMPLES, ids=["copying", "differing"])
def test_the_examples_print_what_they_say(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("fleet.db")) as connection:
        connection.executescript(TABLES_OF_0_1_0 + ROWS)
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.M)

    exec(compile(code, "docs/moving.md", "exec"), {})

    assert promised
    assert capsys.readouterr().out.splitlines() == promised
