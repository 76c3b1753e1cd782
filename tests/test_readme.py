"""README's code runs and says what README says it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_code_in_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", README, re.S)

    exec(compile(code, "README.md", "exec"), {})

    promised = re.search(r"print\(error\)  # (.*); \.\.\.", code)
    assert promised is not None
    assert capsys.readouterr().out.startswith(promised[1])


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
