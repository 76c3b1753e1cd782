"""Rules about the source itself that no linter knows."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import dir_redis
from dir_redis import protocols
from dir_redis.arguments import RULES

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))

# Arguments that a method checks while it converts them.
CONVERTED = {
    *("resources", "capacities", "capacity", "details", "result", "since_str", "updates", "used"),
    *("allowed", "rows", "pci"),
}


def calls_in(path: Path) -> set[str]:
    """The names that a file calls, such as ``Redis`` of ``redis.Redis(...)``."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {
        call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        for call in calls
    }


def test_only_one_file_makes_clients() -> None:
    makers = {"Redis", "StrictRedis", "RedisCluster", "FakeRedis", "Sentinel", "from_url"}
    makers |= {"ConnectionPool", "master_for"}

    assert [path.name for path in SOURCES if calls_in(path) & makers] == ["connection.py"]


def test_only_the_driver_and_its_connection_send_what_waits_for_confirmation() -> None:
    # On another connection than the write's, WAIT speaks of other writes.
    words = re.compile(r"""["'](WAIT|WAITAOF)["']""")
    senders = [
        path.name
        for path in SOURCES
        if words.search(path.read_text()) or "waitaof" in calls_in(path)
    ]
    # A client's wait() looks like that of an event, but nothing there waits for one.
    waits = {
        ast.unparse(call.func)
        for path in (ROOT / "src/dir_redis/redis").glob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(".wait")
    }

    assert senders == ["driver.py"]
    assert waits == set()


def test_only_one_file_builds_keys() -> None:
    tag = re.compile(r"""f["'][^"']*\{\{""")

    offenders = [path.name for path in SOURCES if tag.search(path.read_text())]
    assert offenders == ["keys.py"]


def test_only_copying_and_verifying_look_through_all_keys() -> None:
    walks = re.compile(r"'(?:SCAN|KEYS|RANDOMKEY|FLUSHDB|FLUSHALL)'")
    scripts = [
        path.name for path in (ROOT / "lua").rglob("*.lua") if walks.search(path.read_text())
    ]
    callers = [path for path in SOURCES if "migrate_scan" in path.read_text()]
    users = [path for path in SOURCES if "redis.scanning import" in path.read_text()]

    assert scripts == ["migrate_scan.lua"]
    assert [path.relative_to(ROOT / "src/dir_redis").as_posix() for path in callers] == [
        "redis/scanning.py"
    ]
    assert [path.relative_to(ROOT / "src/dir_redis").as_posix() for path in users] == [
        "migrate/redis_ids.py",
        "verify/redis.py",
    ]


def test_no_scan_and_no_keys_command_is_ever_sent() -> None:
    forbidden = {"scan", "scan_iter", "keys_iter", "flushdb", "flushall", "randomkey"}
    for path in SOURCES:
        assert not calls_in(path) & forbidden, path
        assert not re.search(r"[\"'](SCAN|KEYS|FLUSHDB|FLUSHALL)[\"']", path.read_text()), path


def protocol_methods() -> list[tuple[str, Any]]:
    return [
        (f"{protocol.__name__}.{name}", method)
        for protocol in vars(protocols).values()
        if getattr(protocol, "_is_protocol", False) and protocol.__module__ == protocols.__name__
        for name, method in vars(protocol).items()
        if inspect.isfunction(method) and not name.startswith("_")
    ]


@pytest.mark.parametrize(
    "method", [pytest.param(method, id=name) for name, method in protocol_methods()]
)
def test_every_argument_of_every_protocol_has_a_rule(method: Any) -> None:
    parameters = set(inspect.signature(method).parameters) - {"self"}

    assert parameters <= set(RULES) | CONVERTED
    assert method.__doc__


def test_every_public_name_is_documented() -> None:
    documented = {"DEFAULT_TRANSITIONS"}  # by a comment: it is no class and no function
    documented |= {name for name in dir_redis.__all__ if getattr(dir_redis, name).__doc__}
    undocumented = [name for name in dir_redis.__all__ if name not in documented]

    assert undocumented == []


STEMS = (
    *("agent_registry", "context", "idempotency", "decision_audit", "saga"),
    *("resource_lock", "intent_retry", "escalation", "lifecycle", "decision_ledger"),
)


@pytest.mark.parametrize("stem", STEMS)
def test_each_protocol_has_the_same_stem_everywhere(stem: str) -> None:
    for place in ("src/dir_redis/memory", "src/dir_redis/sqlite", "src/dir_redis/redis"):
        assert (ROOT / place / f"{stem}.py").is_file()
    assert (ROOT / f"tests/conformance/test_{stem}.py").is_file()
    camel = "".join(part.capitalize() for part in stem.split("_"))
    for backend in ("", "Memory", "Sqlite", "Redis"):
        assert hasattr(dir_redis, f"{backend}{camel}Storage")


def test_the_changelog_knows_the_version() -> None:
    assert f"## [{dir_redis.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
