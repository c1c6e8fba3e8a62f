"""The joint choice: one bus a run, and buses that make room for each other where that is likelier."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from busd.track.joint import FIRM, NOBODY, Option, choose

NOTHING = -12.0
Weights = dict[int, dict[int, float]]
"""vehicle -> run -> log weight"""


class Street:
    """Vehicles that choose in turn."""

    def __init__(self, weights: Weights, firm: frozenset[int] = frozenset()) -> None:
        self.weights, self.firm = weights, firm
        self.does: dict[int, int] = {}

    def options(self, vehicle: int) -> list[Option]:
        options = [Option(0, (0, run, -1), weight) for run, weight in self.weights[vehicle].items()]
        return sorted(options, key=lambda option: -option.weight)

    def holder(self, run: tuple[int, int, int]) -> int:
        if run[1] in self.firm:
            return FIRM
        return next((vehicle for vehicle, does in self.does.items() if does == run[1]), NOBODY)

    def turn(self, vehicle: int) -> int | None:
        chosen = choose(vehicle, self.options, self.holder, NOTHING)
        self.does.pop(vehicle, None)
        if chosen is None:
            return None
        run = chosen.run[1]
        self.does = {other: does for other, does in self.does.items() if does != run} | {vehicle: run}
        return run

    def rounds(self, n: int = 4) -> dict[int, int]:
        for _ in range(n):
            for vehicle in self.weights:
                self.turn(vehicle)
        return self.does


def test_a_free_run_that_fits_best_is_taken() -> None:
    assert Street({1: {10: -1.0, 20: -3.0}}).turn(1) == 10


def test_a_bus_that_fits_nothing_does_nothing() -> None:
    assert Street({1: {10: -13.0}}).turn(1) is None


def test_a_run_that_a_bus_names_is_not_taken_from_it() -> None:
    assert Street({1: {10: -1.0, 20: -3.0}}, firm=frozenset((10,))).turn(1) == 20


def test_the_bus_that_has_no_other_choice_gets_the_run() -> None:
    street = Street({1: {10: -1.0, 20: -1.5}, 2: {10: -2.0, 20: -9.0}})
    assert street.rounds() == {1: 20, 2: 10}


def test_a_whole_line_moves_up_for_one_bus() -> None:
    """Each fits the run before its own better; the first one knows that it is not free."""
    street = Street(
        {1: {10: -0.1, 20: -0.5}, 2: {20: -0.1, 30: -0.5}, 3: {30: -0.1, 40: -0.5}, 4: {10: -0.1, 50: -9.0}}
    )
    assert street.rounds() == {1: 20, 2: 30, 3: 40, 4: 10}


def test_of_two_equal_buses_the_one_that_has_the_run_keeps_it() -> None:
    street = Street({1: {10: -1.0}, 2: {10: -1.0}})
    assert [street.turn(1), street.turn(2), street.turn(1)] == [10, None, 10]


weights = st.dictionaries(st.integers(0, 4), st.floats(-11.0, 0.0), min_size=1, max_size=4)


@given(st.lists(weights, min_size=1, max_size=5))
def test_one_bus_a_run_and_no_better_run_stands_free(fleet: list[dict[int, float]]) -> None:
    street = Street(dict(enumerate(fleet)))
    street.rounds()
    assert len(set(street.does.values())) == len(street.does)
    last = len(fleet) - 1  # the others may have been pushed since
    free = [weight for run, weight in fleet[last].items() if run not in street.does.values()]
    held = fleet[last][street.does[last]] if last in street.does else NOTHING
    assert held >= max(free, default=NOTHING)
