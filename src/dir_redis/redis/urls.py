"""Reading URLs of servers: their schemes, hosts and options, and what of them is secret."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.connection import parse_url

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379

# Valkey speaks the same protocol; redis-py knows only its own names.
PLAIN_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
}

TLS_SCHEMES = {"rediss", "valkeys", "rediss+sentinel", "rediss+cluster"}


class UrlError(ValueError):
    """A problem of a URL in words that hold nothing of it."""


def check_credentials(url: str) -> None:
    """Refuse a password that would be cut where it holds ``/``, ``?`` or ``#``.

    Raises:
        ValueError: the rest of it would be taken for a host, a path or an option.
    """
    netloc = urlsplit(url).netloc
    if "@" in url.partition("://")[2][len(netloc) :]:
        raise UrlError(
            "percent-encode what is special in its user name and password ('/' is %2F, '@' is %40)"
        )


def mask_secrets(url: str) -> str:
    """Return a URL, or what somebody took for one, with the passwords in it as ``***``."""

    def hide(option: re.Match[str]) -> str:
        return f"{option[1]}=***" if "password" in unquote(option[1]).lower() else option[0]

    masked = re.sub(r"((?:^|[?&;])[^=&;?]*)=[^&;]*", hide, url)
    # A password may hold what should have been percent-encoded: up to the last @ it is secret.
    credentials, at, rest = masked.rpartition("@")
    if not at:
        # Where a port should be and is none, somebody forgot the host behind a password.
        return re.sub(r"(://[^/?#\[]*?):(?!\d*(?:[,/?#]|$))[^/?#,]+", r"\1:***", masked)
    scheme, separator, pair = credentials.partition("://")
    if not separator:
        scheme, pair = "", credentials
    user, colon, _ = pair.partition(":")
    # One word alone is a user's name, unless somebody forgot the colon before a password.
    return f"{scheme}{separator}{user + ':' if colon else ''}***@{rest}"


def split_hosts(url: str, default_port: int) -> tuple[list[tuple[str, int]], dict[str, Any], str]:
    """Take apart a URL of several hosts: addresses, connection options, path."""
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    addresses = []
    for host in hosts.split(","):
        name, _, port = host.rpartition(":") if re.search(r":\d+$", host) else (host, "", "")
        if not name:
            raise ValueError("it names no host")
        addresses.append((name.strip("[]"), int(port) if port else default_port))
    one_host = f"redis://{credentials}@localhost?{parts.query}"
    options = dict(parse_url(one_host if credentials else f"redis://localhost?{parts.query}"))
    del options["host"]
    return addresses, options, parts.path.strip("/")
