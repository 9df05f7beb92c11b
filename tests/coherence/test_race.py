"""Many processes and threads at once, on real servers, checked against what was committed."""

import os
import random
from typing import Any

from ..home import Supabase
from .model import Violation, violations
from .parties import new_uuid
from .workers import Outcome, Race, run

OPERATIONS = int(os.environ.get("RACE_OPERATIONS", "100000"))
SEED = int(os.environ.get("RACE_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
PROCESSES = 3
THREADS = 3


def race(supabase: Supabase, operations: int, **how: Any) -> tuple[Outcome, list[Violation]]:
    """Run a race and check it; a failure can be repeated, as far as chance lets it, by its seed."""
    plan = Race(
        seed=SEED,
        operations=operations,
        processes=PROCESSES,
        threads=THREADS,
        uuids=tuple(new_uuid() for _ in range(8)),
        options={
            "rest_url": supabase.rest_url,
            "key": supabase.service_role_key,
            "redis_url": supabase.redis_url,
            "cache_ttl": 3600,
        },
        **how,
    )
    outcome = run(plan, supabase)
    found = violations(outcome.operations, outcome.commits)
    print(f"RACE_SEED={SEED}: {outcome}; {len(found)} violations")
    assert len(outcome.operations) == operations
    return outcome, found


def test_no_get_returns_an_old_version(supabase: Supabase) -> None:
    outcome, found = race(supabase, OPERATIONS)
    assert found == []
    assert [o for o in outcome.operations if o.error] == []
    gets = sum(operation.kind == "get" for operation in outcome.operations)
    assert outcome.calls["get"] < gets, "the cache was not used"


def test_no_get_returns_an_old_version_when_each_step_is_slow_now_and_then(
    supabase: Supabase,
) -> None:
    outcome, found = race(supabase, max(OPERATIONS * 6 // 100, 600), delays=0.05, changes=150)
    assert found == []
    assert [o for o in outcome.operations if o.error] == []


def test_no_get_returns_an_old_version_when_redis_loses_commands_and_answers(
    supabase: Supabase,
) -> None:
    outcome, found = race(
        supabase, max(OPERATIONS * 6 // 100, 600), delays=0.02, losses=0.002, changes=60
    )
    assert found == []
    assert [o for o in outcome.operations if o.error] == []


def test_the_naive_order_fails_the_same_test(supabase: Supabase) -> None:
    _, found = race(supabase, 3000, delays=0.05, changes=150, naive=True)
    assert found


def test_every_committed_version_is_known(supabase: Supabase) -> None:
    """What the checks rest on: the history has each save that returned, and nothing else."""
    outcome, _ = race(supabase, 200, changes=500)
    saves = {o.revision for o in outcome.operations if o.kind == "save"}
    assert saves == {commit.revision for commit in outcome.commits if commit.value is not None}
    deletes = [o for o in outcome.operations if o.kind == "delete" and o.value]
    assert len(deletes) == sum(commit.value is None for commit in outcome.commits)
