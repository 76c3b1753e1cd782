"""What the installed release of dir-core offers, told by its signatures."""

from __future__ import annotations

import inspect

import dir_core

# 0.2 and later
AGENT_OF_A_SESSION = (
    "agent_id" in inspect.signature(dir_core.ContextStore.update_session).parameters
)
ROOT_OF_A_TRANSITION = "root_dfid" in inspect.signature(dir_core.transition).parameters
# 0.3 and later
LEDGER_STORAGE = "storage" in inspect.signature(dir_core.DecisionLedger).parameters
# 0.4 and later
AMENDMENTS = hasattr(dir_core.AgentRegistry, "apply_parameter_amendment")
INVARIANTS = hasattr(dir_core, "evaluate_invariants")
STATUS_GATE = hasattr(dir_core.DimReasonCode, "AGENT_SUSPENDED")
