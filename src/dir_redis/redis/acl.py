"""The commands a store sends, and the access rules of a user who may send no others."""

from __future__ import annotations

import hashlib
import re

from dir_redis.arguments import count, flag, string
from dir_redis.durability import parse_durability
from dir_redis.redis.keys import access_pattern

# What a store sends, and what its scripts call.
STORE = (
    *("BLPOP", "DEL", "EVAL", "EVALSHA", "EXISTS", "GET", "HDEL", "HGET", "HGETALL", "HINCRBY"),
    *("HKEYS", "HLEN", "HMGET", "HSET", "HVALS", "INCR", "INFO", "LINDEX", "LLEN", "LRANGE"),
    *("LTRIM", "PERSIST", "PEXPIRE", "PTTL", "RPUSH", "SET", "STRLEN", "TIME", "XADD"),
    *("XINFO|STREAM", "XLEN", "XRANGE", "XREAD", "XREVRANGE", "XTRIM", "ZADD", "ZCARD", "ZCOUNT"),
    *("ZRANGE", "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZREM", "ZREVRANGE", "ZSCORE", "ZUNIONSTORE"),
)
# How a cluster's client finds its nodes, and follows a slot that is being moved.
CLUSTER = ("ASKING", "CLUSTER|SLOTS", "COMMAND")
DATABASE = ("SELECT",)
# Whether a write is on a disk, on replicas.
DISK = ("WAITAOF",)
REPLICAS = ("WAIT",)
SETTINGS = ("CONFIG|GET",)
# What copying a namespace and verify_store need besides. SCAN heeds no key pattern: it shows the
# name of every key.
MIGRATE = ("HEXISTS", "HSCAN", "LPOS", "PEXPIREAT", "SCAN", "TYPE", "ZSCAN")

_USER = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


def acl(
    namespace: str = "dir",
    *,
    user: str = "dir",
    password: str | None = None,
    durability: str = "memory",
    cluster: bool = False,
    database: int = 0,
    read_config: bool = False,
    migrate: bool = False,
) -> str:
    """Return the access rules of a user who can do what a store does in a namespace, and no more.

    A line of an aclfile of Redis 6.2 or newer or Valkey. For ``ACL SETUSER`` leave out its first
    word, ``user``. It replaces whatever the user was allowed before.

    Args:
        namespace: as a store is opened with; others stay closed, also those whose names begin
            or end alike.
        user: the user's name: 1 to 64 letters, digits, ``_``, ``.``, ``-``.
        password: the user's password; the line holds its SHA-256 alone, which a short password
            can be guessed from. Without one the user is ``off``: nobody can log in until
            ``ACL SETUSER <user> on #<SHA-256>`` is run.
        durability: the widest that is asked for: ``"memory"``, ``"disk"`` (WAITAOF, which Redis
            has from 7.2 on) or ``"replicas=<n>"`` (WAIT).
        cluster: whether a cluster's client is to work.
        database: the number that the URL names. With one above 0 the user may change databases,
            and the rules hold in each of them.
        read_config: whether opening may ask for ``appendfsync`` and ``min-replicas-to-write``.
            CONFIG GET shows all other settings too, the server's passwords among them.
        migrate: whether the user may copy the namespace (:mod:`dir_redis.migrate`) and walk through
            it (:func:`~dir_redis.verify_store`). That shows it the names of all keys on the server,
            though not what they hold.

    Raises:
        ValueError, TypeError: an argument cannot be used.

    Source: Redis, ``ACL SETUSER``.
    """
    keys = access_pattern(namespace)
    wanted = parse_durability("durability", durability)
    name = string("user", user)
    if not _USER.fullmatch(name):
        raise ValueError(f"user must be 1 to 64 letters, digits, '_', '.' or '-', not {name!r}")
    login = "off" if password is None else f"on #{_digest(string('password', password))}"
    commands = [*STORE]
    for asked, needed in (
        (wanted.disk, DISK),
        (wanted.replicas, REPLICAS),
        (flag("cluster", cluster), CLUSTER),
        (count("database", database), DATABASE),
        (flag("read_config", read_config), SETTINGS),
        (flag("migrate", migrate), MIGRATE),
    ):
        if asked:
            commands += needed
    allowed = " ".join(f"+{command.lower()}" for command in sorted(commands))
    return f"user {name} reset {login} resetchannels ~{keys} -@all {allowed}"


def _digest(password: str) -> str:
    """What a server keeps of a password."""
    if not password:
        raise ValueError("password must not be empty")
    try:
        return hashlib.sha256(password.encode()).hexdigest()
    except UnicodeEncodeError:  # which has the whole password in it
        raise ValueError("password holds a lone surrogate, which UTF-8 cannot hold") from None
