"""The two ends of a copy: opening what is named by a URL or a path, and telling them apart."""

from __future__ import annotations

from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from dir_redis.bundle import StorageBundle
from dir_redis.errors import StorageConfigurationError
from dir_redis.memory import MemoryResourceLockStorage
from dir_redis.migrate.dir_core import DirCoreFile, is_of_this_package
from dir_redis.migrate.memory import MemoryRawStore
from dir_redis.migrate.records import RawStore
from dir_redis.migrate.redis import RedisRawStore
from dir_redis.migrate.sqlite import SqliteRawStore
from dir_redis.opening import open_storage, sqlite_storage
from dir_redis.redis import RedisResourceLockStorage
from dir_redis.redis.storage import RedisStorage
from dir_redis.sqlite import SqliteResourceLockStorage

Place = StorageBundle | str | PathLike[str]

_SQLITE_URL = "sqlite:///"


class End(NamedTuple):
    """One end of a copy: its records, and its bundle, which a file of dir-core's has not."""

    raw: RawStore
    bundle: StorageBundle | None


class TargetEnd(NamedTuple):
    """The end that is written to."""

    raw: RawStore
    bundle: StorageBundle


def open_ends(source: Place, target: Place, opened: ExitStack) -> tuple[End, TargetEnd]:
    """Open both ends, the source without changing it if it is a file of dir-core's.

    Args:
        source: a bundle, a URL, or the path of a SQLite file, also of one that dir-core made.
        target: a bundle, a URL, or the path of a SQLite file.
        opened: closes what is opened here.

    Raises:
        TypeError: one is none of these.
        ValueError: both are the same store, or a bundle mixes several.
        StorageError: one cannot be opened.
    """
    path, target_path = _path_of("source", source), _path_of("target", target)
    if path is not None and not _is_file(path):
        raise StorageConfigurationError(f"{path} is no file; the source of a copy must be there")
    # Before the target is opened, which changes a file of dir-core 0.1.0.
    if path and target_path and _is_file(target_path) and path.samefile(target_path):
        raise ValueError(f"source and target are the same store: {path}")
    writing = _bundle(target, opened)
    raw, places = raw_store(writing)
    if path is not None and not is_of_this_package(path):
        file = DirCoreFile(path, places=places)
        opened.callback(file.close)
        ends = End(file, None), TargetEnd(raw, writing)
    else:
        reading = _bundle(source, opened)
        ends = End(raw_store(reading)[0], reading), TargetEnd(raw, writing)
    if _same(ends[0].raw, raw):
        raise ValueError(f"source and target are the same store: {raw.where}")
    return ends


def raw_store(bundle: StorageBundle) -> tuple[RawStore, int]:
    """What reads and writes a bundle's records, and how many decimal places its amounts keep.

    Raises:
        ValueError: the bundle's storages are not those of one store.
    """
    locks = bundle.resource_lock
    if isinstance(locks, MemoryResourceLockStorage):
        return MemoryRawStore(bundle), locks._scale.places
    if isinstance(locks, SqliteResourceLockStorage):
        return SqliteRawStore(bundle), locks._scale.places
    if isinstance(locks, RedisResourceLockStorage):
        raw = RedisRawStore(locks._store)
        if all(
            isinstance(storage, RedisStorage) and RedisRawStore(storage._store).where == raw.where
            for storage in bundle.storages
        ):
            return raw, locks._scale.places
        raise ValueError("the bundle mixes stores; a copy needs the storages of one store")
    raise ValueError(f"a copy knows nothing of {type(locks).__name__}")


def _bundle(place: Place, opened: ExitStack) -> StorageBundle:
    if isinstance(place, StorageBundle):
        return place
    if isinstance(place, str) and "://" in place:
        return opened.enter_context(open_storage(place))
    return opened.enter_context(sqlite_storage(place))


def _path_of(name: str, place: Place) -> Path | None:
    """The SQLite file that a place names; None if it names none.

    Raises:
        TypeError: it is no place.
    """
    if isinstance(place, StorageBundle):
        return None
    if not isinstance(place, str | PathLike):
        kind = type(place)
        raise TypeError(
            f"{name} must be a bundle of dir_redis, a URL, or the path of a SQLite file, not "
            f"{kind.__module__}.{kind.__qualname__}; of dir-core's stores only files can be copied"
        )
    if isinstance(place, str) and "://" in place:
        return Path(place.removeprefix(_SQLITE_URL)) if place.startswith(_SQLITE_URL) else None
    return Path(place)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise StorageConfigurationError(f"the source of a copy cannot be used: {error}") from error


def _same(one: RawStore, other: RawStore) -> bool:
    if isinstance(one, MemoryRawStore) and isinstance(other, MemoryRawStore):
        return one.store is other.store
    if isinstance(one, SqliteRawStore | DirCoreFile) and isinstance(other, SqliteRawStore):
        return one.path.samefile(other.path)
    return type(one) is type(other) and one.where == other.where
