"""Several pools under one limit, over many thousands of random steps, the same ones in every run."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from cenote._core import Budget
from cenote._core.settle import Settling
from tests.core.group_model import GroupModel

STEPS = 10_000
PROFILE = settings(
    settings.get_profile("deterministic"),
    max_examples=400,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)


def test_places_go_where_they_are_needed_over_ten_thousand_steps() -> None:
    class Model(GroupModel):
        pass

    run_state_machine_as_test(Model, settings=PROFILE)
    assert Model.steps >= STEPS


class AsksNobody(Budget):
    """Each pool takes a place when there is one for it alone."""

    __slots__ = ()

    def has_room(self) -> bool:
        return True


class OffersNothing(Budget):
    """A freed place is given to nobody but the pool that freed it."""

    __slots__ = ()

    def balance(self, core: Settling, now: float) -> None:
        others = {other: None for other in self.short if other is not core}
        self.short = {other: None for other in self.short if other is core}
        super().balance(core, now)
        self.short |= others


class TakesFromNobody(Budget):
    """Idle connections of other pools are left alone."""

    __slots__ = ()

    def _reclaim(self, now: float, touched: dict[Settling, None]) -> None:
        pass


class EndsNoCalm(Budget):
    """Idle connections are closed, but what comes back later is kept."""

    __slots__ = ()

    def _reclaim(self, now: float, touched: dict[Settling, None]) -> None:
        calm = {core: core.calm for core in self.holders}
        super()._reclaim(now, touched)
        for core, was_calm in calm.items():
            core.calm = was_calm


class KeepsTheClaimOfOneWhoLeft(Budget):
    """A pool that lacked a place once is thought to lack it for ever."""

    __slots__ = ()

    def _note_need(self, core: Settling, now: float) -> None:
        if core.lacking(now):
            self.short[core] = None


@pytest.mark.parametrize(
    "bug",
    [AsksNobody, OffersNothing, TakesFromNobody, EndsNoCalm, KeepsTheClaimOfOneWhoLeft],
    ids=lambda bug: bug.__name__,
)
def test_the_group_model_finds_a_planted_bug(bug: type[Budget]) -> None:
    class Buggy(GroupModel):
        budget_type = bug

    shortest = settings(PROFILE, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises((AssertionError, ValueError, KeyError)):
        run_state_machine_as_test(Buggy, settings=shortest)
