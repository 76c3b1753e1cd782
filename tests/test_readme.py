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
