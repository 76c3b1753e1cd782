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


def shared_functions() -> dict[str, tuple[str, str]]:
    """The functions of all shared pieces by name: their piece and their code."""
    return {
        match["name"]: (piece, match[0])
        for piece, path in SHARED.items()
        for match in re.finditer(
            r"^local function (?P<name>\w+)\(.*?^end$", code_of(path), re.MULTILINE | re.DOTALL
        )
    }


def reached_from(path: Path) -> dict[str, str]:
    """The shared functions that a script calls, itself or through others, by piece."""
    functions = shared_functions()
    unread, reached = [code_of(path)], {}
    while unread:
        code = unread.pop()
        for name, (_, body) in functions.items():
            if name not in reached and re.search(rf"\b{name}\(|\bpcall\({name}\b", code):
                reached[name] = body
                unread.append(body)
    return reached


def code_run_by(path: Path) -> str:
    """The code of a script with that of the shared functions it reaches, but for once()."""
    reached = reached_from(path)
    return "\n".join([code_of(path), *(code for name, code in reached.items() if name != "once")])


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
    names = [re.match(r"-- KEYS\[(\d+(?:\.\.)?|last)\] -> ", line)[1] for line in documented]  # type: ignore[index]
    # A script for any number of keys documents them as KEYS[n..] and, if it writes, its session as
    # KEYS[last].
    many = [int(name[:-2]) for name in names if name.endswith("..")]
    if many:
        own = names[:-1] if "once" in uses(path) else names
        assert own[-1] == f"{len(own)}.."
        assert names[len(own) :] == ["last"] * ("once" in uses(path))
        assert re.search(r"\bKEYS\[[a-z]", body)
        names = [str(number + 1) for number in range(len(names))]
    numbers = [int(name) for name in names]

    assert numbers == list(range(1, len(numbers) + 1))
    for line in documented:
        assert re.search(r"-> (\{<namespace>:(0|<partition>)\}:[a-z_]+|any key)", line), line
        assert re.search(r"\b(hash|string|stream|list|sorted set|type)\b", line), line
    # The last key of a write is its session, which once() takes by its place.
    in_body = {int(number) for number in re.findall(r"KEYS\[(\d+)\]", body)}
    own = len(numbers) - ("once" in uses(path))
    assert in_body | set(many) == set(range(1, own + 1))
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
    handed_on = (
        r"(?:unpack\(ARGV|read_fields\(\w+, ARGV|append_row\(\w+, \w+, ARGV"
        r"|append_link\([\w, ]+, ARGV|write_closing\([\w, ]+, ARGV"
        r"|write_fields\('\w+', \w+, ARGV|slice\(ARGV), (\d+)"
    )
    ranges = {int(n) for n in re.findall(handed_on, body)}
    ranges |= {int(n) for n in re.findall(r"for \w+ = (\d+), #ARGV\b", body)}
    ranges |= {int(n) for n in re.findall(r"^local position = (\d+)$", body, re.MULTILINE)}

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
    header, body = header_and_body(path)

    if not any(line.startswith("-- KEYS[1..] -> any key") for line in header):
        first_line = body.strip().splitlines()[0]
        assert re.match(r"local \w+(, \w+)* = (\{ )?KEYS\[1\]", first_line)
    # Copying looks through all keys of a server, and so takes a place in them for a key.
    others = {"cursor", "'server'"} if path.stem == "migrate_scan" else set()
    for call in re.findall(r"redis\.p?call\(\s*'[A-Z]+', ([^,)\s]+)", body):
        named = call.endswith("_key") or call.startswith("locks[") or call in others
        assert named, f"{call} is no key named from KEYS"
    assert "_key .." not in body
    assert ".. ':'" not in body


def test_what_it_uses_exists_and_is_used(path: Path) -> None:
    functions = shared_functions()
    needed = {functions[name][0] for name in reached_from(path)}

    assert set(uses(path)) <= set(SHARED)
    assert set(uses(path)) == needed


def test_a_script_that_writes_is_applied_once(path: Path) -> None:
    commands = "SET|HSET|HDEL|DEL|ZADD|ZREM|XADD|XTRIM|RPUSH|LTRIM|HINCRBY|INCR|PEXPIRE|PERSIST"
    writes = re.search(rf"'({commands})'", code_run_by(path))
    generic = path.stem in {"command_once", "migrate_write"}

    if writes or generic:
        assert "once" in uses(path)
        assert code_of(path).count("return once(function()") == 1
    else:
        assert "once" not in uses(path)


def test_only_commands_of_redis_6_2_are_called(path: Path) -> None:
    known = {
        *("DEL", "EXISTS", "GET", "HDEL", "HEXISTS", "HGET", "HGETALL", "HINCRBY", "HKEYS"),
        *("INCR", "ZUNIONSTORE"),
        *("HLEN", "HMGET", "HSET"),
        *("HVALS", "LINDEX", "LLEN", "LRANGE", "LTRIM", "PERSIST", "PEXPIRE", "PTTL", "RPUSH"),
        *("SET", "STRLEN", "TIME", "TYPE", "XADD", "XINFO", "XLEN", "XRANGE", "XREVRANGE", "XTRIM"),
        *("ZADD", "ZCARD", "ZCOUNT", "ZRANGE", "ZRANGEBYLEX", "ZRANGEBYSCORE"),
        *("ZREM", "ZREVRANGE", "ZSCORE"),
    }
    if path.stem == "migrate_scan":
        known |= {"HSCAN", "INFO", "SCAN"}
    assert set(re.findall(r"redis\.p?call\(\s*'([A-Z]+)'", code_run_by(path))) <= known
