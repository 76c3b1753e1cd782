"""A script's header is its contract: held here against its body and its callers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LUA = Path(__file__).parents[2] / "lua"
SCRIPTS = sorted(LUA.glob("*.lua"))
SHARED = {path.stem: path for path in (LUA / "shared").glob("*.lua")}

pytestmark = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)


def header_and_body(path: Path) -> tuple[list[str], str]:
    lines = path.read_text().splitlines()
    end = next(n for n, line in enumerate(lines) if not line.startswith("--"))
    return lines[:end], "\n".join(lines[end:])


def code_of(path: Path) -> str:
    """A file without its comments."""
    return re.sub(r"--.*", "", path.read_text())


def uses(path: Path) -> list[str]:
    header, _ = header_and_body(path)
    named = [line.removeprefix("-- Uses: ") for line in header if line.startswith("-- Uses: ")]
    return named[0].split(", ") if named else []


def test_the_header_begins_with_one_sentence_of_purpose(path: Path) -> None:
    header, _ = header_and_body(path)

    assert re.match(r"-- [A-Z].*\w", header[0])
    assert header[header.index("--") - 1].endswith(".")


def test_every_key_is_documented_with_its_pattern_and_type_and_used(path: Path) -> None:
    header, body = header_and_body(path)
    documented = [line for line in header if line.startswith("-- KEYS[")]
    numbers = [int(re.match(r"-- KEYS\[(\d+)\] -> ", line)[1]) for line in documented]  # type: ignore[index]

    assert numbers == list(range(1, len(numbers) + 1))
    for line in documented:
        assert re.search(r"-> (\{<namespace>:(0|<partition>)\}:[a-z_]+|any key)", line), line
        assert re.search(r"\b(hash|string|stream|list|sorted set|type)\b", line), line
    # The last key of a write is its session, which once() takes by its place.
    in_body = {int(number) for number in re.findall(r"KEYS\[(\d+)\]", body)}
    own = len(numbers) - ("once" in uses(path))
    assert in_body == set(range(1, own + 1))
    if "once" in uses(path):
        assert documented[-1].endswith(":op:<session>  string")


def test_every_argument_is_documented_and_used(path: Path) -> None:
    header, body = header_and_body(path)
    documented = {
        int(number)
        for line in header
        for number in re.findall(r"^-- ARGV\[(\d+)(?:\.\.[n+\d]*)?\] = \w", line)
    }
    in_body = {int(number) for number in re.findall(r"ARGV\[(\d+)\]", body)}
    ranges = {int(n) for n in re.findall(r"(?:unpack\(ARGV|read_fields\(\w+, ARGV), (\d+)", body)}

    by_place = 0
    if "once" in uses(path):
        by_place = 2
        assert any("the operation's number in its session" in line for line in header)
        assert any("how long the session is kept, milliseconds" in line for line in header)
    last_two = set(sorted(documented)[-by_place:]) if by_place else set()
    assert in_body | ranges <= documented
    assert documented - in_body - ranges <= last_two


def test_every_reply_is_documented(path: Path) -> None:
    header, body = header_and_body(path)
    start = next(n for n, line in enumerate(header) if line.startswith("-- Reply: "))
    reply = " ".join(line.removeprefix("-- ") for line in header[start:])

    words = re.findall(r"return (?:string\.format\()?'([A-Z_]+)", body)
    assert words or re.search(r"return [\w{.]", body)
    for word in words:
        assert f'"{word}' in reply, word


def test_keys_are_named_in_the_first_lines_and_built_nowhere(path: Path) -> None:
    _, body = header_and_body(path)

    first_line = body.strip().splitlines()[0]
    assert re.match(r"local \w+(, \w+)* = KEYS\[1\]", first_line)
    for call in re.findall(r"redis\.p?call\(\s*'[A-Z]+', ([^,)\s]+)", body):
        assert call.endswith("_key"), f"{call} is no key named from KEYS"
    assert "_key .." not in body
    assert ".. ':'" not in body


def test_what_it_uses_exists_and_is_used(path: Path) -> None:
    body = code_of(path)
    for piece in uses(path):
        functions = re.findall(r"local function (\w+)", SHARED[piece].read_text())
        assert any(f"{name}(" in body for name in functions), piece
    for piece, shared in SHARED.items():
        for name in re.findall(r"local function (\w+)", shared.read_text()):
            if re.search(rf"\b{name}\(", body):
                assert piece in uses(path), f"{name} comes from {piece}"


def test_a_script_that_writes_is_applied_once(path: Path) -> None:
    writes = re.search(r"'(SET|HSET|HDEL|DEL|ZADD|ZREM|XADD|RPUSH|HINCRBY)'", code_of(path))
    generic = path.stem == "command_once"

    if (writes or generic) and path.stem != "namespace_open":  # which only ever writes one thing
        assert "once" in uses(path)
        assert code_of(path).count("return once(function()") == 1
    else:
        assert "once" not in uses(path)


def test_only_commands_of_redis_6_2_are_called(path: Path) -> None:
    known = {
        *("DEL", "EXISTS", "GET", "HDEL", "HGET", "HINCRBY", "HKEYS", "HLEN", "HMGET", "HSET"),
        *("LLEN", "LRANGE", "RPUSH", "SET", "TIME", "XADD", "XRANGE"),
        *("ZADD", "ZCARD", "ZRANGE", "ZREM", "ZREVRANGE", "ZSCORE"),
    }
    assert set(re.findall(r"redis\.p?call\(\s*'([A-Z]+)'", code_of(path))) <= known
