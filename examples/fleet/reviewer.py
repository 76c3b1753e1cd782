"""The one human of the fleet, as a process: reads what is pending, decides, answers."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from dir_redis import StorageBundle, StorageError, open_storage
from examples.fleet.escalation import decision_key
from examples.fleet.strategy import Order, judge
from examples.fleet.worker import STORE_FAILED, leave_if_orphaned

POLL_SEC = 0.02
THINKING_SEC = 0.02


def run_reviewer(url: str, namespace: str) -> None:
    """Decide on requests until the parent ends the process; its main function."""
    try:
        with open_storage(url, namespace=namespace) as store:
            while True:
                leave_if_orphaned()
                review(store)
                time.sleep(POLL_SEC)
    except StorageError as error:
        print(f"reviewer: {error}", file=sys.stderr)
        sys.exit(STORE_FAILED)


def review(store: StorageBundle) -> None:
    """Decide on every pending request.

    The answer is written before the request is resolved, so that a reviewer that dies in between
    finds the request still pending; its successor gives the answer that was given.
    """
    for request in store.escalation.get_pending_requests():
        key = decision_key(request["dfid"])
        answer = store.idempotency.get(key)
        if answer is None:
            time.sleep(THINKING_SEC)
            answer = _answer(Order.from_dict(request["proposal"]))
            store.idempotency.set(key, answer)
        store.escalation.resolve_request(
            request["dfid"],
            datetime.now(UTC).isoformat(),
            answer["verdict"],
            json.dumps(answer["order"]) if answer["verdict"] == "REDUCED" else None,
        )


def _answer(proposed: Order) -> dict[str, Any]:
    allowed = judge(proposed)
    if allowed is None:
        return {"verdict": "REJECTED", "order": None}
    verdict = "APPROVED" if allowed == proposed else "REDUCED"
    return {"verdict": verdict, "order": allowed.as_dict()}
