"""What a URL may say, and what one that cannot be used is answered, whatever secret is in it."""

from __future__ import annotations

import pytest

from dir_redis import StorageConfigurationError, open_storage

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
