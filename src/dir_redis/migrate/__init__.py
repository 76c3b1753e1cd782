"""Moving a store's records to another backend, beneath the Protocols."""

from dir_redis.migrate.copy import copy_store
from dir_redis.migrate.report import CopyProgress, CopyReport, KindReport, Listed

__all__ = ["CopyProgress", "CopyReport", "KindReport", "Listed", "copy_store"]
