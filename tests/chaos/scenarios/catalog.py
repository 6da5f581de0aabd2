"""All scenarios by their number."""

from __future__ import annotations

from tests.chaos.plan import Scenario
from tests.chaos.scenarios import clients, queue, storage, workers

SCENARIOS: dict[str, Scenario] = {
    "R1": workers.r1_worker_groups_killed,
    "R2": workers.r2_pool_children_killed,
    "R3": workers.r3_frozen_worker,
    "R4": queue.r4_redis_killed,
    "R5": queue.r5_frozen_past_the_lease,
    "R6": storage.r6_object_store_faults,
    "R7": storage.r7_disk_full,
    "R8": workers.r8_poison,
    "R9": workers.r9_rolling_restart,
    "R10": clients.r10_cancel_storm,
    "R11": clients.r11_idempotency_storm,
    "R12": clients.r12_api_killed_in_mid_upload,
}
