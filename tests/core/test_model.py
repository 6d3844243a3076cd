"""The core against the reference: many thousands of random steps, the same ones in every run."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.core.model import PoolModel

STEPS = 20_000
PARTS = 8  # each with a seed of its own, so that none takes long on a busy machine


@pytest.mark.parametrize("part", range(PARTS))
def test_the_core_does_what_the_reference_does_over_twenty_thousand_steps(part: int) -> None:
    class Model(PoolModel):
        pass

    run_state_machine_as_test(
        seed(part)(Model),
        settings=settings(
            settings.get_profile("deterministic"),
            max_examples=640 // PARTS,
            stateful_step_count=60,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Model.steps >= STEPS / PARTS
