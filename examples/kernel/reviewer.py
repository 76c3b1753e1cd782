"""The one human of the fleet, as a thread of the parent: looks at what is pending, decides."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from dir_core import HumanDecision, PolicyProposal

from examples.fleet.strategy import Order
from examples.kernel.desk import Desk

TRUSTED_VALUE = 23_500.0
PAUSE_SEC = 0.05


class Reviewer:
    """Decides on requests until the block is left.

    Args:
        desk: its managers.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="reviewer", daemon=True)

    def __enter__(self) -> Reviewer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(PAUSE_SEC):
            review(self._desk)


def review(desk: Desk) -> None:
    """Decide on what is pending: very large purchases are halved, very large sales refused."""
    for request in desk.runtime.escalation.get_pending():
        decision, modified = judge(request["proposal"])
        desk.runtime.escalation.resolve_escalation(request["dfid"], decision, modified)


def judge(stored: dict[str, Any]) -> tuple[HumanDecision, PolicyProposal | None]:
    """The human's rule."""
    proposal = PolicyProposal.model_validate(stored)
    if proposal.params["order_value"] <= TRUSTED_VALUE:
        return HumanDecision.OVERRIDE, None
    if proposal.policy_kind == "SELL":
        return HumanDecision.ABORT, None
    half = Order("BUY", max(1, proposal.params["shares"] // 2), proposal.params["price"])
    params = {**proposal.params, "shares": half.shares, "order_value": half.value}
    return HumanDecision.MODIFY, proposal.model_copy(update={"params": params})
