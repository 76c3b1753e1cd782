"""The code in README and docs runs, and prints what the comments beside it say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from dir_redis import StorageBundle, open_storage

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "fleet-operations.md").read_text()
EXAMPLES = re.findall(
    r"^## ([^\n]+)\n((?:(?!^## ).)*?```python\n.*?)(?=^## |\Z)", OPERATIONS, re.S | re.M
)


def test_the_code_in_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", README, re.S)

    exec(compile(code, "README.md", "exec"), {})

    promised = re.search(r"print\(error\)  # (.*), \.\.\.", code)
    assert promised is not None
    assert capsys.readouterr().out.startswith(promised[1])


@pytest.mark.parametrize(("title", "text"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
@pytest.mark.parametrize("url", ["memory://", "embedded://"])
def test_the_examples_of_the_fleet_safe_operations_print_what_they_say(
    url: str, title: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    promised = re.findall(r"^(?: *print\(.*\)  )?# (.*)$", code, re.M)

    with open_storage(url) as store:
        exec(compile(code, title, "exec"), {"store": store})

    assert promised
    assert capsys.readouterr().out.splitlines() == promised


def test_there_is_an_example_of_every_fleet_safe_protocol() -> None:
    table = re.findall(r"\(#([a-z-]+)\) \| `(\w+)`", OPERATIONS)

    assert {name for _, name in table} == {
        str(field.type) for field in dataclasses.fields(StorageBundle)[:10]
    }
    assert [anchor for anchor, _ in table] == [
        title.lower().replace(" ", "-") for title, _ in EXAMPLES
    ]


def test_every_file_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)

    assert len(links) > 4
    for link in links:
        assert (Path(__file__).parents[1] / link).is_file(), link


def test_every_make_target_that_readme_names_is_there() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()

    for target in set(re.findall(r"`?make ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_every_test_that_the_guarantees_name_is_there() -> None:
    root = Path(__file__).parent
    guarantees = (root.parent / "docs" / "guarantees.md").read_text()
    named = re.findall(r"`([a-z_]+/[a-z_]*)(\.py)?(?:::(\w+))?`", guarantees)
    tests = [(path, name) for path, is_file, name in named if is_file]

    assert len(tests) > 5
    for path, name in tests:
        assert f"def {name}" in (root / f"{path}.py").read_text(), path


def test_the_servers_of_docker_compose_are_pinned_and_neither_forget_nor_evict() -> None:
    compose = (Path(__file__).parents[1] / "docker-compose.yml").read_text()

    assert re.findall(r"image: (\S+)", compose) == ["redis:7.4.1-alpine"]
    assert compose.count("noeviction") == compose.count('"redis-server", "--append') + 3
    assert compose.count("healthcheck:") == 6
    assert {"profiles: [cluster]", "profiles: [sentinel]"} <= set(
        re.findall(r"profiles: .*", compose)
    )
