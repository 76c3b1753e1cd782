"""Hostile values for the functions that are neither a store's methods nor open one."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dir_redis
from dir_redis import (
    StorageError,
    acl,
    dumps_json_dict,
    embedded_storage,
    ensure_db,
    memory_storage,
    verify_store,
)
from dir_redis.redis.connection import connect
from tests.conftest import SERVERS, Servers
from tests.hostile.round_trips import plain
from tests.hostile.values import HOSTILE, NUMBERS, OBJECTS, HostileError, LyingStr

HERE = Path(__file__).parent
REFUSALS = (ValueError, TypeError, HostileError)
ACL_ARGUMENTS = [*inspect.signature(acl).parameters]
NAMES = ["fleet", "a", "A-b_c.9", "x" * 64, "-", "."]
NO_NAMES = ["", "a:b", "{a}", "a}", "a b", "a\n", "\n", "é", "*", "?", "[a]", "x" * 65, "a~", "²"]


def lines() -> Iterator[tuple[dict[str, Any], str]]:
    """The rules for every hostile value of every argument that is taken, beside a usual name."""
    for argument in ACL_ARGUMENTS:
        for make in HOSTILE:
            given = {"namespace": "fleet", argument: make()}
            with contextlib.suppress(*REFUSALS):
                yield given, acl(**given)


def test_rules_are_one_line_of_words_or_the_argument_is_refused() -> None:
    taken = list(lines())

    assert len(taken) > 100
    for given, line in taken:
        named = plain(given["namespace"])
        words = line.split(" ")
        assert re.fullmatch(r"[!-~]+( [!-~]+)*", line), given
        assert words[0] == "user"
        assert words[2] == "reset"
        assert [word for word in words if word.startswith("~")] == [f"~{{{named}:*"]
        assert all(re.fullmatch(r"\+[a-z|]+", word) for word in words[words.index("-@all") + 1 :])


@pytest.mark.parametrize("name", NO_NAMES)
def test_rules_for_what_is_no_name_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="namespace must be"):
        acl(name)
    with pytest.raises(ValueError, match="user must be"):
        acl("fleet", user=name)


@pytest.mark.parametrize("value", [None, 7, b"fleet", ["fleet"], True, object()])
def test_rules_for_what_is_no_text_are_refused(value: Any) -> None:
    for argument in ("namespace", "user", "durability"):
        with pytest.raises(TypeError, match=f"{argument} must be a str"):
            acl(**{"namespace": "fleet", argument: value})


def test_a_password_of_a_lone_surrogate_is_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="password holds a lone surrogate") as caught:
        acl("fleet", password="s3cret\ud800")
    assert "s3cret" not in str(caught.value)


def test_a_name_of_another_class_is_the_text_that_it_holds() -> None:
    """It says of itself that it is another, and empty: nobody gets a user without a password."""
    name = LyingStr("f")

    assert acl(name, user=name, password=name) == acl("f", user="f", password="f")


@pytest.mark.parametrize("server", [name for name in SERVERS if name != "cluster"])
def test_a_server_takes_the_rules_as_they_are(server: str, servers: Servers) -> None:
    """In the form of ACL SETUSER, and opens by them that one namespace."""
    client: Any = connect(servers.url(server), attempt_timeout_sec=5).client
    names = [(acl(name), name) for name in NAMES]
    hostile = {line: plain(given["namespace"]) for given, line in lines()}
    # Before 7.2 there is no WAITAOF, which "disk" allows.
    hostile = {line: name for line, name in hostile.items() if "waitaof" not in line}
    assert len(hostile) > 20
    try:
        for line, name in [*names, *hostile.items()]:
            words = line.split()
            words[1] = "hostile-" + words[1]
            assert client.execute_command("ACL", "SETUSER", *words[1:]) == b"OK"
            user = client.acl_getuser(words[1])
            assert "-@all" in user["categories"]
            (pattern,) = map(client.get_encoder().encode, _patterns(user))
            # Redis 6.2 gives the pattern without its first sign.
            assert pattern.removeprefix(b"~") == b"{%b:*" % name.encode()
            client.acl_deluser(words[1])
    finally:
        client.close()


def _patterns(user: dict[str, Any]) -> list[Any]:
    return [user["keys"]] if isinstance(user["keys"], str) else list(user["keys"])


@pytest.mark.parametrize("sort_keys", [True, False])
def test_a_dict_is_encoded_to_what_comes_back_or_refused(sort_keys: bool) -> None:
    for make in HOSTILE:
        value = make()
        try:
            encoded = dumps_json_dict(value, sort_keys=sort_keys)
        except REFUSALS:
            continue
        json.loads(encoded)


def test_a_file_is_made_where_it_can_be_or_the_place_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for make in HOSTILE:
        with contextlib.suppress(*REFUSALS, StorageError):
            assert ensure_db(make()).is_file()
        with contextlib.suppress(*REFUSALS, StorageError):
            ensure_db("x.db", make())
    with contextlib.closing(sqlite3.connect("x.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []


def test_a_place_that_is_no_path_is_refused_before_a_server_starts() -> None:
    no_paths = (value for make in OBJECTS if not isinstance(value := make(), str | None))
    for place in (*NUMBERS, *no_paths, "a\0b", "\ud800"):
        with pytest.raises((*REFUSALS, StorageError)):
            embedded_storage(place)  # type: ignore[arg-type]


def test_what_is_no_store_is_not_verified() -> None:
    for make in HOSTILE:
        value = make()
        with pytest.raises((*REFUSALS, StorageError)):
            verify_store(value)
        with contextlib.suppress(*REFUSALS):
            verify_store(memory_storage(), progress=make())


# Nothing is left out

FUNCTIONS = {
    **dict.fromkeys(("acl", "dumps_json_dict", "ensure_db", "verify_store"), "test_functions.py"),
    **dict.fromkeys(("memory_storage", "open_storage", "redis_storage"), "test_factories.py"),
    "sqlite_storage": "test_factories.py",
    "embedded_storage": "test_functions.py",  # its options are those of redis_storage
}


def test_every_public_function_is_given_hostile_values() -> None:
    public = {name for name in dir_redis.__all__ if inspect.isfunction(getattr(dir_redis, name))}

    assert set(FUNCTIONS) == public
    for name, file in FUNCTIONS.items():
        assert f"{name}(" in (HERE / file).read_text(), name
