"""What a URL may say, and what one that cannot be used is answered, whatever secret is in it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from dir_redis import StorageConfigurationError, open_storage
from dir_redis.redis.connection import connect
from dir_redis.redis.urls import mask_secrets
from tests.redis_only.conftest import works
from tests.security.test_secrets import all_of

ROOT = Path(__file__).parents[2]
SECURITY = ROOT / "docs" / "security.md"
TIMEOUTS = ("socket_timeout", "socket_connect_timeout")
NO_TIME = ("0", "-1", "nan", "inf", "1e9", "301", "abc", "")
# What redis-py would take, and answer with errors of its own, or not at all.
NOT_IN_A_URL = (
    *("retry", "credential_provider", "event_dispatcher", "command_packer", "cache", "socket_type"),
    *("socket_keepalive_options", "maint_notifications_config", "redis_connect_func", "host"),
    *("socket_read_size", "encoding", "decode_responses", "parser_class", "connection_class"),
)
NO_PORT = "a port is a number from 1 to 65535"


def refused(url: str) -> str:
    """What is said of a URL, which nobody is asked about."""
    with pytest.raises(StorageConfigurationError) as caught:
        open_storage(url, timeout_sec=0.1)
    return str(caught.value)


@pytest.mark.parametrize("login", ["", "u:s3cr3t@"])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://{}h:1?socket_timout=3", "socket_timout cannot be given in a URL"),
        ("redis+sentinel://{}h/s?sentinel_db=1", "sentinel_db cannot be given in a URL"),
        ("redis://{}h?sentinel_password=x", "sentinel_password cannot be given in a URL"),
        ("redis://{}h?socket_timeout=abc", "socket_timeout"),
        ("redis://{}h:63x9", NO_PORT),
        ("redis://{}h:99999", NO_PORT),
        ("redis://{}h:0", NO_PORT),
        ("redis://{}::1", NO_PORT),
        ("redis+sentinel://{}h1,h2:x/s", NO_PORT),
        ("redis+sentinel://{}h", "it names no service"),
        ("redis+sentinel://{}h/s/x", "no number of a database"),
        ("redis+cluster://{}/", "it names no host"),
        ("redis+cluster://{}h,", "it names no host"),
        ("redis+cluster://{}h/3", "a cluster has no database"),
        ("redis+cluster://{}h?db=3", "a cluster has no database"),
        ("redis://{}h/x", "no number of a database"),
        ("redis://{}h1,h2", "one server has one host"),
        ("unix://{}run/redis.sock", "behind three slashes"),
        ("unix://{}", "it names no socket"),
        ("http://{}h", "its scheme is none of redis, "),
    ],
)
def test_a_mistake_is_named_beside_a_password_too(url: str, said: str, login: str) -> None:
    assert said in refused(url.format(login))


@pytest.mark.parametrize(
    ("option", "said"),
    [
        *((f"{name}={value}", f"{name} must be seconds") for name in TIMEOUTS for value in NO_TIME),
        *((f"{name}=1", f"{name} cannot be given in a URL") for name in NOT_IN_A_URL),
        ("db=-1", "db must be the number of a database"),
        ("db=1.5", "db must be the number of a database"),
        ("client_name=a%20b", "client_name must be letters"),
        ("password=", "password must be some text"),
        ("health_check_interval=-1", "health_check_interval must be whole seconds"),
        ("max_connections=0", "max_connections must be a whole number from 1 on"),
        ("protocol=4", "protocol must be 2 or 3"),
        ("socket_keepalive=maybe", "socket_keepalive must be true or false"),
        ("protocol=3&protocol=2", "protocol is given twice"),
    ],
)
@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("redis://h", ""),
        ("redis+cluster://h", ""),
        ("redis+sentinel://h/s", ""),
        ("redis+sentinel://h/s", "sentinel_"),
    ],
    ids=["server", "cluster", "sentinel", "of-sentinels"],
)
def test_an_option_has_a_value_that_it_can_have(
    url: str, prefix: str, option: str, said: str
) -> None:
    if prefix and option.startswith("db"):
        said = "db cannot be given in a URL"

    options = "&".join(prefix + one for one in option.split("&"))
    assert f"{prefix}{said}" in refused(f"{url}?{options}")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h/1?db=1", "its database is given twice"),
        ("redis+sentinel://h/s/1?db=1", "its database is given twice"),
        ("rediss://h?ssl_check_hostname=maybe", "ssl_check_hostname must be true or false"),
        ("redis+cluster://h?health_check_interval=30", "nothing that redis-py does with a cluster"),
        ("unix:///s?socket_keepalive=true", "socket_keepalive is of connections between hosts"),
    ],
)
def test_options_that_do_not_go_with_the_url(url: str, said: str) -> None:
    assert said in refused(url)


EVERY = {
    "client_name": "a-worker",
    "socket_timeout": "1.5",
    "socket_connect_timeout": "1",
    "socket_keepalive": "no",
    "max_connections": "5",
    "protocol": "3",
}


@pytest.mark.opened_as_it_is
@pytest.mark.parametrize("scheme", ["server", "cluster"])
def test_every_option_that_may_be_given_is_heeded(
    servers: Any, namespace: str, scheme: str
) -> None:
    url = servers.url("cluster" if scheme == "cluster" else "valkey")
    options = EVERY | ({} if scheme == "cluster" else {"health_check_interval": "30"})
    with closing(connect(f"{url}?{urlencode(options)}", attempt_timeout_sec=2)) as connection:
        client: Any = connection.client
        if scheme == "cluster":
            client = client.get_redis_connection(client.get_primaries()[0])
        settings = client.connection_pool.connection_kwargs

        assert "a-worker" in [one["name"] for one in client.client_list()]
        assert settings["socket_timeout"] == 1.5
        assert settings["socket_connect_timeout"] == 1
        assert settings["socket_keepalive"] is False
        assert settings["protocol"] == 3
        assert scheme == "cluster" or settings["health_check_interval"] == 30
        assert connection.most_connections == 5
    with open_storage(f"{url}?{urlencode(options)}", namespace=namespace) as bundle:
        assert works(bundle)


def test_the_page_has_the_options_that_may_be_given() -> None:
    text = refused("rediss://h?x=1")
    page = (ROOT / "docs" / "backends.md").read_text()
    names = text.partition("There are ")[2].split(", ")

    assert {*EVERY, "db", "username", "password", "health_check_interval"} == {
        name for name in names if not name.startswith("ssl_")
    }
    assert all(f"`{name}`" in page for name in names if not name.startswith("ssl_"))
    assert all(f"{name}=" in SECURITY.read_text() for name in names if name.startswith("ssl_"))


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:s3cr3t\udce9@h",
        "redis://u\udce9:s3cr3t@h",
        "redis+cluster://u:s3cr3t\udce9@h",
        "redis://h?password=s3cr3t\udce9",
        "redis+sentinel://h/s?sentinel_password=s3cr3t\udce9",
        "unix://u:s3cr3t\udce9@/s",
        "redis://u:s3cr3t%FF@h",
        "redis+sentinel://h/s?sentinel_password=s3cr3t%FF",
    ],
    ids=ascii,
)
def test_a_password_that_is_no_utf_8_is_refused_and_in_no_cause(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIR_REDIS_URL", url)
    with pytest.raises(StorageConfigurationError, match="it holds what is no UTF-8") as caught:
        open_storage()

    assert "s3cr3t" not in all_of(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://u:p@ss@h", "'@' is %40"),
        ("redis://u@x:p@h", "'@' is %40"),
        ("unix://u:p@ss@/s", "'@' is %40"),
        ("redis+sentinel://u:p@ss@h/s", "'@' is %40"),
        ("redis+cluster://u:s3cr3t@h1,u:s3cr3t@h2", "once, before the first host"),
    ],
)
def test_an_at_sign_in_a_password_is_percent_encoded(url: str, said: str) -> None:
    assert said in refused(url)


def test_credentials_belong_before_the_first_of_several_hosts() -> None:
    for url in ("redis+cluster://h1,u:s3cr3t@h2", "redis+cluster://h1:1,u:s3cr3t@h2"):
        assert "before the first host" in refused(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://u:99999999", NO_PORT),
        ("redis://:99999999", NO_PORT),
        ("redis+cluster://u:99999,999", NO_PORT),
        ("redis://h?password=ab&99999999", "one of its options has no '='"),
        ("redis://h?db=0#password=99999999", "nothing belongs behind a '#'"),
        ("redis://h#99999999", "nothing belongs behind a '#'"),
        ("redis://h?passwd=99999999", "passwd cannot be given in a URL"),
        ("redis://h?pwd=99999999", "pwd cannot be given in a URL"),
        ("redis://h?db=0;pwd=99999999", "db must be the number of a database"),
        ("redis://h?password=a;db=99999999&db=x", "db must be the number of a database"),
        ("redis://u:12?99999999@h", "percent-encode"),
        ("redis://u:12?x=999999@99h", "percent-encode"),
        ("redis://h/0&password=99999999", "no number of a database"),
    ],
)
def test_what_may_be_a_secret_is_not_shown(url: str, said: str) -> None:
    message = refused(url)

    assert said in message
    assert "99" not in message
    assert "12" not in message


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://h:63x9", "redis://h:***"),
        ("redis://h:6379,h2:6380", "redis://h:6379,h2:6380"),
        ("redis://:6379/0", "redis://:6379/0"),
        ("redis://h?socket_timeout=3&client_name=a", "redis://h?socket_timeout=3&client_name=a"),
        ("redis+sentinel://h/s?sentinel_username=w", "redis+sentinel://h/s?sentinel_username=w"),
        ("redis://u:a?b=s3cr3t@h", "redis://***"),
        ("redis:/u:s3cr3t://x@h", "redis:***@h"),
        ("unix:///home/me@work/s.sock?db=1", "unix:///home/me@work/s.sock?db=1"),
    ],
)
def test_what_is_no_secret_is_shown(url: str, masked: str) -> None:
    assert mask_secrets(url) == masked


def test_a_url_that_was_given_for_a_namespace_is_masked() -> None:
    with pytest.raises(ValueError, match=r"not 'redis://u:\*\*\*@h'"):
        open_storage("redis://h", namespace="redis://u:s3cr3t@h")


@pytest.mark.parametrize("quoted", ["'{}'", '"{}"', " {}", "\t{}"])
@pytest.mark.parametrize("url", ["redis://u:s3cr3t@h", "redis+cluster://h1,h2", "memory://"])
def test_quotes_around_a_url_are_named(
    url: str, quoted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIR_REDIS_URL", quoted.format(url))
    with pytest.raises(StorageConfigurationError, match="quotes or blanks around it") as caught:
        open_storage()

    assert "s3cr3t" not in str(caught.value)
