"""Redis-backed distributed coordination for the Decision Intelligence Runtime."""

from dir_redis.bundle import StorageBundle
from dir_redis.errors import *  # noqa: F403
from dir_redis.json_codec import dumps_json_dict
from dir_redis.memory import *  # noqa: F403
from dir_redis.opening import memory_storage, sqlite_storage
from dir_redis.protocols import *  # noqa: F403

__version__ = "0.1.0"
