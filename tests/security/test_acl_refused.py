"""What the user that `acl` describes cannot do: each command and each way to a key is tried."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError

from dir_redis import StorageRefusedError, acl, open_storage
from dir_redis.embedded import valkey_binary
from dir_redis.redis.acl import CLUSTER, DATABASE, DISK, MIGRATE, REPLICAS, SETTINGS, STORE
from dir_redis.redis.connection import connect
from tests.least_privilege import PASSWORD, allow, restricted_url, url_of
from tests.redis_only.conftest import works
from tests.servers import redis62_binary, server

BINARIES: dict[str, Callable[[], Path]] = {"valkey": valkey_binary, "redis62": redis62_binary}
NAMESPACE = "dir"
KEY = "{dir:0}:k"
# Nearly the same name, or another kind of key: none is of the namespace "dir".
OTHERS = ("{dir2:0}:k", "{di:0}:k", "{xdir:0}:k", "{DIR:0}:k", "{dir}:k", "{dir", "dir:k", "k")
# A server asks nobody's leave for these: they say who is there, or end it.
ALWAYS_ALLOWED = {"auth", "hello", "quit", "reset"}

# Every command on keys that the user has, in words that would do something.
WORDS: dict[str, tuple[str, ...]] = {
    "BLPOP": (KEY, "0.01"),
    "DEL": (KEY,),
    "EVAL": ("return 1", "1", KEY),
    "EXISTS": (KEY,),
    "GET": (KEY,),
    "HDEL": (KEY, "f"),
    "HEXISTS": (KEY, "f"),
    "HGET": (KEY, "f"),
    "HGETALL": (KEY,),
    "HINCRBY": (KEY, "f", "1"),
    "HKEYS": (KEY,),
    "HLEN": (KEY,),
    "HMGET": (KEY, "f"),
    "HSCAN": (KEY, "0"),
    "HSET": (KEY, "f", "1"),
    "HVALS": (KEY,),
    "INCR": (KEY,),
    "LINDEX": (KEY, "0"),
    "LLEN": (KEY,),
    "LPOS": (KEY, "v"),
    "LRANGE": (KEY, "0", "-1"),
    "LTRIM": (KEY, "0", "-1"),
    "PERSIST": (KEY,),
    "PEXPIRE": (KEY, "60000"),
    "PEXPIREAT": (KEY, "4000000000000"),
    "PTTL": (KEY,),
    "RPUSH": (KEY, "v"),
    "SET": (KEY, "v"),
    "STRLEN": (KEY,),
    "TYPE": (KEY,),
    "XADD": (KEY, "*", "f", "v"),
    "XINFO|STREAM": ("STREAM", KEY),
    "XLEN": (KEY,),
    "XRANGE": (KEY, "-", "+"),
    "XREAD": ("STREAMS", KEY, "0"),
    "XREVRANGE": (KEY, "+", "-"),
    "XTRIM": (KEY, "MAXLEN", "0"),
    "ZADD": (KEY, "1", "m"),
    "ZCARD": (KEY,),
    "ZCOUNT": (KEY, "0", "1"),
    "ZRANGE": (KEY, "0", "-1"),
    "ZRANGEBYLEX": (KEY, "-", "+"),
    "ZRANGEBYSCORE": (KEY, "0", "1"),
    "ZREM": (KEY, "m"),
    "ZSCAN": (KEY, "0"),
    "ZREVRANGE": (KEY, "0", "-1"),
    "ZSCORE": (KEY, "m"),
    "ZUNIONSTORE": (KEY, "1", KEY),
}
KEYLESS = {"INFO", "TIME", "SCAN", *CLUSTER, *DATABASE, *DISK, *REPLICAS, *SETTINGS}
# Of another's script the digest alone is known; where the script is known it is EVAL.
EVALSHA = {"EVALSHA"}


@pytest.fixture(scope="module", params=BINARIES)
def own_server(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[str]:
    """A server that a command which should be refused may spoil."""
    folder = tmp_path_factory.mktemp("refused")
    # Valkey refuses these to everybody, which would say nothing about the user.
    given = ("--enable-debug-command", "yes", "--enable-module-command", "yes")
    directives = given if request.param == "valkey" else ()
    with server(BINARIES[request.param](), folder, *directives) as running:
        with connect(running.url, attempt_timeout_sec=5).client as admin:
            allow(admin, NAMESPACE)
            allow(admin, NAMESPACE, user="mover", migrate=True)
            for key in OTHERS:
                admin.set(key, "somebody else's")
        yield running.url


@pytest.fixture(params=["fleet", "mover"])
def user(request: pytest.FixtureRequest, own_server: str) -> Iterator[Any]:
    """The raw client of a user of a store, and of one that also copies it."""
    with connect(url_of(own_server, request.param), attempt_timeout_sec=5).client as client:
        client.may_move = request.param == "mover"
        yield client


def allowed(user: Any) -> set[str]:
    return {*STORE, *(MIGRATE if user.may_move else ())}


def refusal(call: Callable[[], Any]) -> str:
    """How a call was refused; empty if it was not."""
    try:
        call()
    except ResponseError as error:
        return str(error)
    return ""


def commands_of(about: list[Any]) -> Iterator[tuple[str, int]]:
    """Each command or subcommand of a COMMAND reply with how many words it takes at least."""
    for name, arity, *_, subcommands in (
        entry if len(entry) > 9 else [*entry, []] for entry in about
    ):
        if subcommands:
            yield from commands_of(subcommands)
        else:
            yield name.decode(), abs(arity)


def test_every_other_command_is_refused(own_server: str, user: Any) -> None:
    mine = {name.lower() for name in allowed(user)}
    with connect(own_server, attempt_timeout_sec=5).client as admin:
        connection = admin.connection_pool.get_connection()
        connection.send_command("COMMAND")
        everything = dict(commands_of(connection.read_response()))
        admin.connection_pool.release(connection)
    others = {
        name: arity
        for name, arity in everything.items()
        # Redis 6.2 knows no subcommands.
        if name not in mine | ALWAYS_ALLOWED and not any(own.startswith(f"{name}|") for own in mine)
    }

    taken = {}
    for name, arity in others.items():
        words = name.split("|")
        words += [KEY] * (arity - len(words))
        answer = refusal(lambda words=words: user.execute_command(*words))
        if not re.search("no permissions to run|can't run this command", answer):
            taken[name] = answer

    assert taken == {}
    assert len(others) > 150
    for name in ("flushall", "keys", "randomkey", "shutdown", "debug", "monitor", "eval_ro"):
        assert name in others or name not in everything
    assert {"config", "config|get"} & set(others)
    assert {"acl", "acl|list"} & set(others)


def test_every_command_of_the_list_is_tried_below() -> None:
    assert {*WORDS, *KEYLESS, *EVALSHA} == {*STORE, *MIGRATE, *KEYLESS}


@pytest.mark.parametrize("other", OTHERS)
def test_no_command_reaches_another_namespace(own_server: str, user: Any, other: str) -> None:
    reached = {}
    for name in allowed(user) - KEYLESS - EVALSHA:
        words = [other if word == KEY else word for word in WORDS[name]]
        command = (name.partition("|")[0], *words)
        answer = refusal(lambda command=command: user.execute_command(*command))
        if "one of the keys" not in answer and "access a key" not in answer.lower():
            reached[name] = answer or "done"

    assert reached == {}
    with connect(own_server, attempt_timeout_sec=5).client as admin:
        assert admin.get(other) == b"somebody else's"


@pytest.mark.parametrize("declared", [0, 1])
@pytest.mark.parametrize("other", OTHERS)
def test_nor_does_a_script_of_the_users_own(
    own_server: str, user: Any, other: str, declared: int
) -> None:
    """With one key of its own declared, or none; the other's key comes as an argument."""
    source = "return redis.call(unpack(ARGV))"
    reached = {}
    for name in allowed(user) - KEYLESS - EVALSHA - {"EVAL", "BLPOP"}:
        words = [other if word == KEY else word for word in WORDS[name]]
        keys = [KEY] * declared
        command = ("EVAL", source, declared, *keys, name.partition("|")[0], *words)
        answer = refusal(lambda command=command: user.execute_command(*command))
        if "one of the keys" not in answer and "access a key" not in answer.lower():
            reached[name] = answer or "done"

    assert reached == {}
    with connect(own_server, attempt_timeout_sec=5).client as admin:
        assert admin.get(other) == b"somebody else's"


def test_in_its_own_namespace_all_of_them_are_allowed(own_server: str, user: Any) -> None:
    """So that it is the key for which the others were refused."""
    for name in allowed(user) - KEYLESS - EVALSHA:
        command = (name.partition("|")[0], *WORDS[name])
        with connect(own_server, attempt_timeout_sec=5).client as admin:
            admin.delete(KEY)
        assert refusal(lambda command=command: user.execute_command(*command)) in (
            "",
            "no such key",
        )


@pytest.mark.parametrize(
    "command", ["FLUSHALL", "KEYS *", "CONFIG GET *", "SCRIPT FLUSH", "ACL LIST"]
)
def test_no_script_runs_what_the_user_may_not(user: Any, command: str) -> None:
    words = ", ".join(f"'{word}'" for word in command.split())

    assert refusal(lambda: user.execute_command("EVAL", f"return redis.call({words})", 0))


def test_names_are_listed_by_one_who_copies_alone(own_server: str) -> None:
    source = "return redis.call('SCAN', '0', 'COUNT', '1000')"
    answers = {}
    for name in ("fleet", "mover"):
        with connect(url_of(own_server, name), attempt_timeout_sec=5).client as client:
            answers[name] = refusal(lambda c=client: c.execute_command("EVAL", source, 0))
    assert answers["fleet"]
    assert not answers["mover"]  # SCAN heeds no pattern: it shows every name, as `acl` says


def test_a_store_of_another_namespace_is_refused(server_url: str, namespace: str) -> None:
    url = restricted_url(server_url, namespace)
    with open_storage(url, namespace=namespace) as bundle:
        assert works(bundle)

    for other in (f"{namespace}2", namespace[:-1], f"x{namespace}", "dir"):
        with pytest.raises(StorageRefusedError, match="lacks a permission") as caught:
            open_storage(url, namespace=other)
        assert caught.value.code == "NOPERM"


def test_without_a_password_nobody_logs_in(own_server: str) -> None:
    with connect(own_server, attempt_timeout_sec=5).client as admin:
        admin.execute_command("ACL", "SETUSER", *acl(user="nobody").split()[1:])
        for password in ("", "nobody", PASSWORD):
            with pytest.raises(redis.AuthenticationError):
                admin.execute_command("AUTH", "nobody", password)


def test_the_line_takes_away_what_the_user_had(own_server: str) -> None:
    with connect(own_server, attempt_timeout_sec=5).client as admin:
        admin.execute_command("ACL", "SETUSER", "later", "on", "nopass", "allkeys", "allcommands")
        allow(admin, NAMESPACE, user="later")
        with pytest.raises(redis.AuthenticationError):
            admin.execute_command("AUTH", "later", "any")
        url = url_of(own_server, "later")
    with connect(url, attempt_timeout_sec=5).client as client:
        assert refusal(lambda: client.execute_command("GET", "k"))
        assert refusal(lambda: client.execute_command("KEYS", "*"))


@pytest.mark.parametrize("binary", BINARIES)
def test_the_line_is_one_of_an_aclfile(binary: str, tmp_path: Path) -> None:
    rules = tmp_path / "users.acl"
    rules.write_text(f"user default on nopass ~* +@all\n{acl(password=PASSWORD, user='fleet')}\n")
    with server(BINARIES[binary](), tmp_path / "server", "--aclfile", str(rules)) as running:
        with open_storage(url_of(running.url)) as bundle:
            assert works(bundle)
        with pytest.raises(StorageRefusedError):
            open_storage(url_of(running.url), namespace="dir2")


def test_a_clusters_client_that_may_not_ask_for_its_nodes_is_refused_at_once(
    servers: Any, namespace: str
) -> None:
    url = servers.url("cluster")
    with connect(url, attempt_timeout_sec=5).client as admin:
        allow(admin, namespace, "-cluster|slots", user=namespace)

    with pytest.raises(StorageRefusedError, match="lacks a permission") as caught:
        open_storage(url_of(url, namespace), namespace=namespace)
    assert caught.value.code == "NOPERM"
