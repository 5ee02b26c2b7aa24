"""The circuit breaker against a clock of the test's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from planner_service.generation.providers.circuit import Circuit, CircuitState, Permit


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def circuit(failures: int = 3, open_seconds: float = 10.0) -> tuple[Circuit, Clock]:
    clock = Clock()
    return Circuit(failures, open_seconds, clock), clock


def admitted(it: Circuit) -> Permit:
    permit = it.admit()
    assert permit is not None
    return permit


def test_consecutive_failures_open_it() -> None:
    it, _ = circuit()
    for _ in range(2):
        admitted(it).settle(False)
        assert it.state is CircuitState.CLOSED
    admitted(it).settle(False)
    assert it.state is CircuitState.OPEN
    assert it.admit() is None
    assert it.seconds_until_probe == 10.0


def test_an_answer_between_failures_starts_the_count_anew() -> None:
    it, _ = circuit()
    for _ in range(5):
        admitted(it).settle(False)
        admitted(it).settle(False)
        admitted(it).settle(True)
    assert it.state is CircuitState.CLOSED


def test_one_probe_at_a_time_decides() -> None:
    it, clock = circuit(failures=1)
    admitted(it).settle(False)
    clock.now += 9.9
    assert it.admit() is None
    clock.now += 0.1
    assert it.state.value == "half_open"
    probe = admitted(it)
    assert it.admit() is None, "only one"
    probe.settle(False)
    assert it.admit() is None
    assert it.seconds_until_probe == 10.0
    clock.now += 10
    admitted(it).settle(True)
    assert it.state is CircuitState.CLOSED
    assert it.admit() is not None


def test_an_abandoned_probe_leaves_the_place_to_another() -> None:
    it, clock = circuit(failures=1)
    admitted(it).settle(False)
    clock.now += 10
    admitted(it).settle(None)
    assert it.state is CircuitState.HALF_OPEN
    assert it.admit() is not None


def test_a_call_from_before_does_not_take_the_probes_place() -> None:
    it, clock = circuit(failures=1)
    old = admitted(it)
    admitted(it).settle(False)
    clock.now += 10
    admitted(it)
    old.settle(None)
    assert it.admit() is None


def test_who_asks_hears_when_to_come_again() -> None:
    it, clock = circuit(failures=1)
    assert it.seconds_until_admission == 0.0
    admitted(it).settle(False)
    clock.now += 4
    assert it.seconds_until_admission == 6.0
    clock.now += 6
    assert it.seconds_until_admission == 0.0
    trying = admitted(it)
    assert it.seconds_until_admission > 0.0
    trying.settle(True)
    assert it.seconds_until_admission == 0.0


def test_a_permit_is_settled_once() -> None:
    it, _ = circuit(failures=1)
    permit = admitted(it)
    permit.settle(True)
    permit.settle(False)
    permit.settle(None)
    assert it.state is CircuitState.CLOSED


@given(st.lists(st.sampled_from(["ok", "fail", "abandon", "wait", "admit"]), max_size=60))
def test_it_always_lets_somebody_try_in_the_end(steps: list[str]) -> None:
    it, clock = circuit(failures=2, open_seconds=5)
    pending: list[Permit] = []
    for step in steps:
        if step == "wait":
            clock.now += 2
        elif step == "admit":
            if (permit := it.admit()) is not None:
                pending.append(permit)
        elif pending:
            permit = pending.pop(0)
            permit.settle({"ok": True, "fail": False, "abandon": None}[step])
    for permit in pending:
        permit.settle(None)
    clock.now += 5
    assert it.admit() is not None
