"""docs/dir-core.md: every snippet runs, and prints what the comments beside it say."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from dir_redis import StorageBundle, embedded_storage
from tests.dir_core_needed import need_dir_core
from tests.servers import wait_until

need_dir_core()

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "dir-core.md").read_text()
# What stands under one heading belongs together.
SECTIONS = [
    (heading, "\n".join(re.findall(r"```python\n(.*?)```", text, re.S)))
    for heading, text in re.findall(r"^##+ ([^\n]+)\n(.*?)(?=^##+ |\Z)", GUIDE, re.S | re.M)
    if "```python" in text
]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StorageBundle]:
    """A server of the test's own, whose address is in the environment, and a folder to be in."""
    monkeypatch.chdir(tmp_path)
    with embedded_storage() as store:
        monkeypatch.setenv("DIR_REDIS_URL", str(store.url))
        yield store


@pytest.mark.parametrize(("title", "code"), SECTIONS, ids=[title for title, _ in SECTIONS])
@pytest.mark.usefixtures("server")
def test_the_snippets_print_what_they_say(
    title: str, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    promised = re.findall(r"^(?: *print\(.*\)  )?# (.*)$", code, re.M)

    exec(compile(code, title, "exec"), {})

    assert promised
    assert capsys.readouterr().out.splitlines() == promised


def test_no_snippet_is_left_out() -> None:
    assert [title for title, _ in SECTIONS] == [
        "The one line",
        "The one import",
        "Moving your data",
        "Ten hosts",
        "What to watch",
        "The ledger",
    ]
    assert set(re.findall(r"^```(\w+)\n", GUIDE, re.M)) == {"python", "sh", "conf"}


def test_the_extras_that_are_installed_are_there() -> None:
    [extras] = re.findall(r"pip install '\.\[(.*)\]'", GUIDE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert set(extras.split(",")) <= project["optional-dependencies"].keys()


def test_a_server_takes_the_settings(server: StorageBundle) -> None:
    [settings] = re.findall(r"```conf\n(.*?)```", GUIDE, re.S)
    pairs = [line.split() for line in settings.splitlines()]

    with redis.Redis.from_url(str(server.url), decode_responses=True) as client:
        for name, value in pairs:
            client.config_set(name, value)
            assert client.config_get(name) == {name: value}
        # A server that is writing its first append-only file does not end, for ten seconds.
        wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], 10)
    assert len(pairs) == 3


def headings_of(document: str) -> set[str]:
    return {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", document, re.M)
    }


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^):]+)\)", GUIDE)

    assert len(links) > 10
    for link in links:
        path, _, anchor = link.partition("#")
        document = ROOT / "docs" / (path or "dir-core.md")
        assert document.is_file(), link
        assert not anchor or anchor in headings_of(document.read_text()), link


def test_every_make_target_and_every_name_of_the_kernel_is_there() -> None:
    import dir_redis.kernel

    makefile = (ROOT / "Makefile").read_text()
    assert set(re.findall(r"`make ([a-z-]+)`", GUIDE)) == {"demo-kernel"}
    assert "\ndemo-kernel:" in makefile
    table = re.findall(r"^\| `(\w+)` \|", GUIDE, re.M)
    assert set(table) <= set(dir_redis.kernel.__all__)
    assert len(table) == 9


def test_the_table_of_races_is_of_the_races_there_are() -> None:
    from tests.kernel_races.races import RACES

    table = dict(re.findall(r"^\| ([a-z0-9 ]+) \| (\d+) \|", GUIDE, re.M))
    right = {race.what: str(race.right) for race in RACES if race.what in table}
    kernel = dict(re.findall(r"^\| ([a-z0-9 ]+) \|.* (\d+) \|$", GUIDE, re.M))

    assert table == right == kernel
    assert len(table) == 10
