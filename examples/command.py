"""What the demos' command lines share: the store's arguments, its opening, how a run may end."""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dir_redis import (
    StorageBundle,
    StorageConfigurationError,
    StorageError,
    embedded_storage,
    open_storage,
)
from examples.signals import InterruptionError, signals_collected, signals_raised

if TYPE_CHECKING:
    from rich.console import Console

    from examples.fleet.supervisor import Address

OK, BROKEN, UNABLE = 0, 1, 2
ONE_PROCESS_SCHEMES = ("memory", "fakeredis")


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command line say which store, and which namespace of it."""
    parser.add_argument(
        "--url",
        help="the store, as for open_storage: redis://host, sqlite:////path.db, ... "
        "(default: an embedded Valkey server of its own)",
    )
    parser.add_argument("--namespace", help="an empty one of the server (default: a fresh one)")


def parse(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, *, prefix: str
) -> argparse.Namespace:
    """Read a command line; a store that the workers could not share ends the program.

    Args:
        parser: of a demo, with the store's arguments.
        arguments: None for the program's own.
        prefix: what the name of a fresh namespace begins with.
    """
    options = parser.parse_args(arguments)
    scheme = (options.url or "").partition("://")[0]
    if scheme in ONE_PROCESS_SCHEMES:
        parser.error(
            f"{scheme}:// lives in one process, and the demo's workers are processes of their own; "
            "take a server, an SQLite file, or leave --url out"
        )
    if options.namespace is None:
        options.namespace = f"{prefix}-{uuid.uuid4().hex[:8]}"
    return options


def run(
    demo: Callable[[argparse.Namespace, StorageBundle], int],
    options: argparse.Namespace,
    *,
    left_behind: str,
) -> int:
    """Open the store, run a demo on it and say in a line what kept it from its end.

    Args:
        demo: returns an exit code.
        options: its command line.
        left_behind: how things stand after an interruption.

    Returns:
        The demo's exit code, 2 when it could not run, 128 plus the signal's number when it was
        stopped (130 for Ctrl-C).
    """
    try:
        with signals_raised():
            return _run(demo, options)
    except InterruptionError as interrupted:
        print(f"stopped by {interrupted}; {left_behind}", file=sys.stderr)
        return 128 + interrupted.signum


def console_of(width: int) -> Console:
    """Where a demo prints: as wide as the terminal, or as told where there is none."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=width)


def address_of(store: StorageBundle, options: argparse.Namespace) -> Address:
    """Where worker processes open the store that a command line names."""
    from examples.fleet.supervisor import Address

    # The bundle's own URL hides passwords, and an embedded server has no other.
    embedded = options.url is None or options.url.startswith("embedded:")
    return Address(str(store.url) if embedded else options.url, options.namespace)


def where(store: StorageBundle) -> str:
    """A store's URL and namespace, for people."""
    return f"{store.url}" + (f", namespace {store.namespace}" if store.namespace else "")


def unable(problem: str) -> int:
    """Say what keeps a demo from running; returns the exit code for it."""
    print(f"error: {problem}", file=sys.stderr)
    return UNABLE


def _run(
    demo: Callable[[argparse.Namespace, StorageBundle], int], options: argparse.Namespace
) -> int:
    from examples.fleet.supervisor import FleetError

    try:
        with _open(options) as store:
            return demo(options, store)
    except (StorageError, FleetError, OSError) as error:
        return unable(str(error))


def _open(options: argparse.Namespace) -> StorageBundle:
    try:
        if options.url is None:
            with signals_collected():  # a server half started would be left behind
                return embedded_storage(namespace=options.namespace)
        return open_storage(options.url, namespace=options.namespace)
    except ValueError as error:  # the namespace is no name
        raise StorageConfigurationError(str(error)) from error
