"""docs/security.md: its snippets run, and what it names is there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from dir_redis import RedisOptions, acl, embedded_storage

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_prints_what_it_says(
    number: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = SNIPPETS[number]
    promised = re.findall(r"^(?: *print\(.*\)  )?# (.*)$", code, re.M)

    with embedded_storage() as store:
        monkeypatch.setenv("DIR_REDIS_URL", str(store.url))
        exec(compile(code, f"snippet {number}", "exec"), {})

    assert promised
    assert capsys.readouterr().out.splitlines() == promised


def test_the_snippets_are_these() -> None:
    assert len(SNIPPETS) == 3


def test_the_table_has_every_argument_and_what_it_adds() -> None:
    section = PAGE.partition("### Installing it")[0]
    rows = dict(re.findall(r"^\| `(\w+=[^`]*)` \| (.*?) \|", section, re.M))
    arguments = {row.partition("=")[0] for row in rows}

    assert arguments == set(inspect.signature(acl).parameters) - {"namespace", "user"}
    for row, added in rows.items():
        name, _, value = row.partition("=")
        if name != "password":
            words = set(acl(**{name: eval(value)}).split()) - set(acl().split())
            named = re.findall(r"`([A-Z ]+)`", added)
            assert words == {"+" + command.lower().replace(" ", "|") for command in named}


def test_every_option_of_a_store_is_in_the_table_of_the_backends() -> None:
    backends = (ROOT / "docs" / "backends.md").read_text()

    documented = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", backends, re.M)
    assert set(documented) == set(RedisOptions.__annotations__)


def test_the_files_it_names_are_there() -> None:
    for path in re.findall(r"`(tests/[\w/.]+)`", PAGE):
        assert (ROOT / path).is_file()
