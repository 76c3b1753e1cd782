"""What the reviewer's and the compensator's processes have in common."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from dir_redis import StorageBundle, StorageError, open_storage
from examples.fleet.leases import leave_if_orphaned
from examples.fleet.worker import STORE_FAILED

POLL_SEC = 0.02


def serve(url: str, namespace: str, name: str, step: Callable[[StorageBundle], bool]) -> None:
    """Do one thing after another until the parent ends the process.

    Args:
        url: the fleet's store.
        namespace: its namespace there.
        name: for complaints.
        step: does one thing, and says whether there was one to do.
    """
    try:
        with open_storage(url, namespace=namespace) as store:
            while True:
                leave_if_orphaned()
                if not step(store):
                    time.sleep(POLL_SEC)
    except StorageError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(STORE_FAILED)
