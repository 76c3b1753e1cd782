"""docs/sizing.md: its figures follow from what was measured, and its snippet runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("rich", reason="the benchmarks print with rich (pip install rich)")

from benchmarks import sizing_page
from benchmarks.report import Table, table_as_markdown
from benchmarks.sizing_page import Figures

PAGE = sizing_page.PAGE.read_text()
ROOT = Path(__file__).parents[1]

TYPICAL = Figures(
    calls=20,
    commands=150,
    script_us=600,
    cpu_us=900,
    aof_cpu_us=1_000,
    zero_us=200,
    bytes_in=9_000,
    bytes_out=500,
    at_once=8_000,
    after_minute=4_000,
    after_day=3_000,
    audit=1_500,
    aof=10_000,
    rewritten=1_000,
)


def place(name: str) -> str:
    """What stands between the marks of a place."""
    [text] = re.findall(f"<!-- measured: {name} -->\n(.*?)\n?<!-- end: {name} -->", PAGE, re.S)
    return str(text)


def results(table: Table) -> dict[str, str]:
    return {row[0]: row[-1] for row in table.rows}


def test_the_page_has_every_place_once_and_a_table_in_it() -> None:
    marks = re.findall(r"<!-- measured: (\w+) -->", PAGE)

    assert sorted(marks) == sorted(sizing_page.PLACES)
    assert [name for name in marks if "| --- |" not in place(name)] == []


def test_the_pages_example_follows_from_the_measured_figures() -> None:
    typical, escalated = sizing_page.figures_in(place("flow"))

    example = sizing_page.example_table(typical, escalated)

    assert place("example") == table_as_markdown(example)
    assert place("nodes") == table_as_markdown(sizing_page.nodes_table(typical))
    assert place("balance") == table_as_markdown(sizing_page.balance_table())


def test_the_example_is_the_formulas_by_hand() -> None:
    found = results(sizing_page.example_table(TYPICAL, TYPICAL))

    assert found == {
        "a flow's server time": "1,000 µs",
        "flows per second, at peak": "57.9",
        "flows per second of a node": "500",
        "**nodes, by time**": "**1**",
        "flows a day that a node has time for": "8.6 million",
        "flows per second through partition 0": "2,500",
        "memory of 30 days that stays": "90.0 GB",
        "memory that goes after a day": "1.0 GB",
        "memory that goes after a minute": "13.9 MB",
        "**nodes, by memory**": "**3**",
        "memory with audit rows trimmed after 7 days": "56.5 GB",
        "**nodes, by memory, trimmed**": "**2**",
        "append-only file, written a day": "10.0 GB",
        "disk of all nodes, untrimmed": "90.0 GB",
        "network at peak, to all nodes and from them": "4.2 and 0.2 Mbit/s",
    }


def test_two_flows_in_a_hundred_count_as_two() -> None:
    dearer = Figures(*(0 for _ in sizing_page.LABELS))

    assert TYPICAL.mixed(dearer, 2)["aof_cpu_us"] == 980.0


def test_partition_0_bounds_what_primaries_add() -> None:
    assert [sizing_page.of_nodes(nodes, 1000, 200) for nodes in (1, 2, 4)] == [
        500.0,
        pytest.approx(833.33, abs=0.01),
        1250.0,
    ]
    assert [sizing_page.of_nodes(nodes, 1000, 200, zero_alone=True) for nodes in (3, 12)] == [
        1250.0,
        2500.0,
    ]


def test_the_busiest_primary_has_its_even_part_at_least() -> None:
    assert sizing_page.busiest_share(12, 1) == 1.0
    assert sizing_page.busiest_share(12, 3) == 1.75
    assert sizing_page.busiest_share(1024, 3) < 1.05


def test_figures_go_to_their_places_and_nowhere_else() -> None:
    page = "above\n<!-- measured: flow -->\nold\n<!-- end: flow -->\nbelow\n"

    filled = sizing_page.filled(page, {"flow": [sizing_page.flow_table(TYPICAL, TYPICAL)]})

    assert sizing_page.figures_in(filled) == (TYPICAL, TYPICAL)
    assert "old" not in filled
    assert filled.startswith("above\n<!-- measured: flow -->\n| One flow |")
    assert filled.endswith("|\n<!-- end: flow -->\nbelow\n")


@pytest.mark.parametrize("page", ["nothing", "<!-- measured: flow -->\n", 2 * PAGE])
def test_a_page_without_the_place_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="measured: flow"):
        sizing_page.filled(page, {"flow": []})


def test_the_snippet_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.S)

    exec(compile(code, "sizing.md", "exec"), {})

    [promised] = re.findall(r"print\(.*\)  # (.*)", code)
    assert capsys.readouterr().out == f"{promised}\n"


def test_readme_links_the_page() -> None:
    assert "(docs/sizing.md)" in (ROOT / "README.md").read_text()
