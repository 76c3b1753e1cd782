"""The one human of the fleet, as a process: takes the oldest request, decides, answers."""

from __future__ import annotations

import json
import time

from dir_redis import StorageBundle
from examples.fleet.flow import REJECTED
from examples.fleet.service import serve
from examples.fleet.strategy import Order, judge

REVIEWER = "reviewer"
LEASE_SEC = 5.0
THINKING_SEC = 0.02


def run_reviewer(url: str, namespace: str) -> None:
    """Decide on requests; the main function of the reviewer's process."""
    serve(url, namespace, REVIEWER, review)


def review(store: StorageBundle) -> bool:
    """Decide on the oldest request that no other reviewer has.

    Returns:
        Whether there was one.
    """
    request = store.escalation.claim_next(REVIEWER, LEASE_SEC)
    if request is None:
        return False
    time.sleep(THINKING_SEC)
    proposed = Order.from_dict(request["proposal"])
    allowed = judge(proposed)
    if allowed is None:
        store.escalation.resolve(request["dfid"], REJECTED, by=REVIEWER, reason="too large a sale")
    elif allowed == proposed:
        store.escalation.resolve(request["dfid"], "APPROVED", by=REVIEWER)
    else:
        reduced = json.dumps(allowed.as_dict())
        store.escalation.resolve(request["dfid"], "REDUCED", by=REVIEWER, proposal_json=reduced)
    return True
