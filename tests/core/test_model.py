"""The core against the reference: many thousands of random steps, the same ones in every run."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.core.model import PoolModel

STEPS = 20_000


def test_the_core_does_what_the_reference_does_over_twenty_thousand_steps() -> None:
    class Model(PoolModel):
        pass

    run_state_machine_as_test(
        Model,
        settings=settings(
            settings.get_profile("deterministic"),
            max_examples=900,
            stateful_step_count=60,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Model.steps >= STEPS
