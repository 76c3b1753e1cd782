"""Reading URLs of servers: their schemes, hosts and options, and what of them is secret."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, unquote, unquote_plus, unquote_to_bytes, urlsplit

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379

# Valkey speaks the same protocol; redis-py knows only its own names.
_PLAIN_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
}
_SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
_CLUSTER_SCHEMES = ("redis+cluster", "rediss+cluster")
_TLS_SCHEMES = ("rediss", "valkeys", "rediss+sentinel", "rediss+cluster")

# A host, with a port or without.
_HOST = re.compile(r"(\[[^\[\]]+\]|[^\[\]:%\s\0'\"]+)(?::(\d{1,5}))?", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)

# As an operation's.
_LONGEST_TIMEOUT_SEC = 300.0

_OF_SENTINELS = "sentinel_"

_ENCODE = (
    "percent-encode what is special in a user name and a password ('@' is %40, '/' is %2F and "
    "',' is %2C)"
)


class UrlError(ValueError):
    """A problem of a URL, in words that hold none of its values."""


def _text(value: str) -> str | None:
    return value or None


def _name(value: str) -> str | None:
    return value if re.fullmatch("[!-~]+", value) else None


def _number(value: str) -> int | None:
    return int(value) if _NUMBER.fullmatch(value) else None


def _flag(value: str) -> bool | None:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
        value.lower()
    )


def _seconds(value: str) -> float | None:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value, re.ASCII):
        return None
    return seconds if 0 < (seconds := float(value)) <= _LONGEST_TIMEOUT_SEC else None


# What a URL may have of redis-py's options, how each is read, and what it has to be. The others
# are objects, or have to agree with what this package sends and reads.
_TIMEOUT = (_seconds, f"seconds, above 0 and at most {_LONGEST_TIMEOUT_SEC:.0f}")
_WORDS = (_text, "some text")
_OPTIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "db": (_number, "the number of a database"),
    "username": _WORDS,
    "password": _WORDS,
    "client_name": (_name, "letters, digits and signs of ASCII, without blanks"),
    "socket_timeout": _TIMEOUT,
    "socket_connect_timeout": _TIMEOUT,
    "socket_keepalive": (_flag, "true or false"),
    "health_check_interval": (_number, "whole seconds; 0 for no check"),
    "max_connections": (lambda value: _number(value) or None, "a whole number from 1 on"),
    "protocol": ({"2": 2, "3": 3}.get, "2 or 3"),
    "ssl_ca_certs": _WORDS,
    "ssl_ca_path": _WORDS,
    "ssl_ca_data": _WORDS,
    "ssl_certfile": _WORDS,
    "ssl_keyfile": _WORDS,
    "ssl_password": _WORDS,
    "ssl_cert_reqs": _WORDS,
    "ssl_check_hostname": (_flag, "true or false"),
}


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """What a URL of servers says.

    Attributes:
        kind: what is there: ``"server"``, ``"sentinel"`` or ``"cluster"``.
        tls: whether to speak TLS.
        hosts: names and ports; none for a socket, and where redis-py's own default is meant.
        service: what Sentinels know it by.
        plain: the URL of one server, without its options and in redis-py's schemes.
        options: redis-py's options of a connection.
        sentinel_options: the same of connections to Sentinels.
    """

    kind: str
    tls: bool
    hosts: list[tuple[str, int]]
    service: str
    plain: str = field(repr=False)
    options: dict[str, Any] = field(repr=False)
    sentinel_options: dict[str, Any] = field(repr=False)


def read_url(url: str) -> ServerUrl:
    """Take a URL of servers apart.

    Raises:
        UrlError: it cannot be used.
    """
    if not _is_utf8(url):
        raise UrlError(f"it holds what is no UTF-8; {_ENCODE}")
    scheme = url.partition("://")[0]
    kind, default_port = _kind_of(scheme)
    parts = _split(url)
    # A password would be cut where it holds one of "/?#", and the rest taken for something else.
    if scheme != "unix" and "@" in url.partition("://")[2][len(parts.netloc) :]:
        raise UrlError(_ENCODE)
    if "#" in url:
        raise UrlError("nothing belongs behind a '#'; in a name or password it is %23")
    credentials, at, places = parts.netloc.rpartition("@")
    if kind != "server" and re.search("[@,]", credentials):  # those of one host and of another?
        raise UrlError(f"write user name and password once, before the first host; {_ENCODE}")
    if "@" in credentials:
        raise UrlError(_ENCODE)
    service, plain = "", f"{_PLAIN_SCHEMES.get(scheme)}://{credentials}{at}{places}"
    if scheme == "unix":
        _check_socket(places, parts.path)
        hosts, plain = [], plain + parts.path
    elif kind == "server":
        hosts = _one_host(places)
    else:
        hosts = [_host(place, default_port) for place in places.split(",")]
    options, of_sentinels = _options(parts.query, kind)
    if scheme != "unix":
        service = _path(parts.path.strip("/"), kind, options)
    if kind != "server":
        options.update(_login(credentials))
    for unfit, name, why in (
        (kind == "cluster", "health_check_interval", "nothing that redis-py does with a cluster"),
        (scheme == "unix", "socket_keepalive", "of connections between hosts"),
    ):
        if unfit and name in options:
            raise UrlError(f"{name} is {why}")
    return ServerUrl(kind, scheme in _TLS_SCHEMES, hosts, service, plain, options, of_sentinels)


def _is_utf8(url: str) -> bool:
    """Whether a URL and what is percent-encoded in it is all text, which redis-py sends as UTF-8.

    An environment variable may hold other bytes; redis-py would quote them, or send another
    password.
    """
    try:
        url.encode()
        unquote_to_bytes(url).decode()
    except UnicodeError:  # it holds the URL, so it is not kept, as a context neither
        return False
    return True


def _kind_of(scheme: str) -> tuple[str, int]:
    """What is behind a scheme, and the port it is at where the URL names none."""
    if scheme in _PLAIN_SCHEMES:
        return "server", DEFAULT_PORT
    if scheme in _SENTINEL_SCHEMES:
        return "sentinel", DEFAULT_SENTINEL_PORT
    if scheme in _CLUSTER_SCHEMES:
        return "cluster", DEFAULT_PORT
    if re.match(r"""['"\s]""", scheme):  # as a file of variables for Docker hands them on
        raise UrlError("the quotes or blanks around it are a part of it: write it without")
    known = ", ".join((*_PLAIN_SCHEMES, *_SENTINEL_SCHEMES, *_CLUSTER_SCHEMES, "fakeredis"))
    raise UrlError(f"its scheme is none of {known}")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        pass  # its words may quote the password, so it is not kept, as a context neither
    raise UrlError(f"its host cannot be read (an IPv6 address stands in [ ]); {_ENCODE}")


def _login(credentials: str) -> dict[str, str]:
    user, _, password = credentials.partition(":")
    return {
        name: unquote(value)
        for name, value in (("username", user), ("password", password))
        if value
    }


def _check_socket(place: str, path: str) -> None:
    if place or not path.strip("/") or "\0" in unquote(path):
        raise UrlError("it names no socket: the path is an absolute one, behind three slashes")


def _one_host(place: str) -> list[tuple[str, int]]:
    """The host of a URL that has one, or none."""
    if "," in place:
        raise UrlError(
            "one server has one host: write redis+sentinel:// or redis+cluster:// for several"
        )
    if place.startswith(":"):
        place = f"localhost{place}"
    return [_host(place, DEFAULT_PORT)] if place else []


def _host(place: str, default_port: int) -> tuple[str, int]:
    if not place or place.startswith(":"):
        raise UrlError("it names no host")
    found = _HOST.fullmatch(place)
    if found is None or not 1 <= (port := int(found[2] or default_port)) <= 65535:
        raise UrlError(
            "a host or its port cannot be read (a port is a number from 1 to 65535, an IPv6 "
            "address stands in [ ], a password before an @ and the host)"
        )
    return found[1].strip("[]"), port


def _path(path: str, kind: str, options: dict[str, Any]) -> str:
    """Put the database that a path names among the options, and return the Sentinels' service."""
    service, database = "", path
    if kind == "sentinel":
        service, _, database = path.partition("/")
        if not service:
            raise UrlError("it names no service; write redis+sentinel://host1,host2/service")
    if database:
        if not _NUMBER.fullmatch(database):
            raise UrlError("its path is no number of a database")
        if "db" in options:
            raise UrlError("its database is given twice, by the path and by db")
        options["db"] = int(database)
    if kind == "cluster" and options.pop("db", 0):
        raise UrlError("a cluster has no database but the first")
    return service


def _options(query: str, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a query, and those of them that are for Sentinels."""
    options: dict[str, Any] = {}
    of_sentinels: dict[str, Any] = {}
    also = f", and the same for Sentinels, as {_OF_SENTINELS}…" if kind == "sentinel" else ""
    for option in query.split("&"):
        name, equals, value = (unquote_plus(part) for part in option.partition("="))
        if not option:
            continue
        if not equals:
            raise UrlError("one of its options has no '='; in a value '&' is %26")
        known, place = name, options
        if kind == "sentinel" and name.startswith(_OF_SENTINELS):
            known, place = name.removeprefix(_OF_SENTINELS), of_sentinels
        if known not in _OPTIONS or (place is of_sentinels and known == "db"):
            raise UrlError(
                f"{name} cannot be given in a URL; hand in a ready client that has it. There are "
                f"{', '.join(_OPTIONS)}{also}"
            )
        if known in place:
            raise UrlError(f"{name} is given twice")
        read, words = _OPTIONS[known]
        place[known] = read(value)
        if place[known] is None:
            raise UrlError(f"{name} must be {words}")
    return options, of_sentinels


def mask_secrets(url: str) -> str:
    """Return a URL, or what somebody took for one, with what may be secret in it as ``***``."""
    scheme = url.partition("://")[0] + "://" if re.match("[^:/@]*://", url) else ""
    place, mark, query = url.removeprefix(scheme).partition("?")
    options = query.split("&")
    if any("@" in option and not _known(option) for option in options):
        return f"{scheme}***"  # the "?" was one of a password, and so may be all around it
    query = "&".join(_mask_option(option) for option in options)
    # A password may hold what should have been percent-encoded: up to the last @ it is secret.
    credentials, at, address = place.rpartition("@")
    if scheme == "unix://" and place.startswith("/"):
        credentials, at, address = "", "", place
    elif at:
        user, colon, _ = credentials.partition(":")
        # One word alone is a user's name, unless somebody forgot the colon before a password.
        credentials = f"{user}:***" if colon else "***"
    elif scheme:
        address = _mask_ports(address)
    address = re.sub("([#&;]|(?i:password)[^=]*=).*", r"\1***", address, flags=re.DOTALL)
    return f"{scheme}{credentials}{at}{address}{mark}{query}"


def _known(option: str) -> str:
    """The option of this package's that a part of a query gives; empty if none."""
    name, equals, _ = option.partition("=")
    known = unquote_plus(name).removeprefix(_OF_SENTINELS)
    return known if equals and known in _OPTIONS else ""


def _mask_option(option: str) -> str:
    """An option whose value is masked unless it is known to be no secret."""
    known = _known(option)
    if known and "password" not in known:
        return re.sub("([#;]).*", r"\1***", option, flags=re.DOTALL)
    name, equals, _ = option.partition("=")
    # Without a value it may be what follows an "&" in a password.
    return f"{name}{equals}***" if equals else option and "***"


def _mask_ports(address: str) -> str:
    """Where a port should be and is none, somebody forgot the host behind a password."""
    netloc, slash, path = address.partition("/")
    places = netloc.split(",")
    for number, place in enumerate(places):
        name, colon, _ = place.partition(":")
        if colon and not _is_host(place):
            netloc = ",".join((*places[:number], f"{name}:***"))
            break
    return f"{netloc}{slash}{path}"


def _is_host(place: str) -> bool:
    try:
        _host(f"localhost{place}" if place.startswith(":") else place, DEFAULT_PORT)
    except UrlError:
        return False
    return True
