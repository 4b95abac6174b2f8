"""judge: silence is death only where the process is not at work."""

from __future__ import annotations

import pytest

from cachefleet.provisioner.health.verdict import (
    BUSY_SHARE_MIN,
    BUSY_TIMEOUT_S,
    PAUSE_S_MIN,
    Silence,
    Verdict,
    judge,
    pause_s,
)

TIMEOUT_S = 2.0

CASES = [
    pytest.param(0.0, 0.0, Verdict.HEALTHY, id="nothing-is-owed"),
    pytest.param(0.01, 0.0, Verdict.SUSPECT, id="just-asked"),
    pytest.param(1.99, 0.0, Verdict.SUSPECT, id="not-long-enough"),
    pytest.param(2.0, 0.0, Verdict.DOWN, id="long-enough-and-idle"),
    pytest.param(2.0, 0.59, Verdict.DOWN, id="hardly-at-work"),
    pytest.param(2.0, 0.6, Verdict.SUSPECT, id="visibly-at-work"),
    pytest.param(6.99, 6.9, Verdict.SUSPECT, id="a-script-that-has-its-five-seconds"),
    pytest.param(7.0, 7.0, Verdict.DOWN, id="an-engine-answers-busy-by-now"),
    pytest.param(6.0, 1.7, Verdict.DOWN, id="work-that-has-ceased"),
]


@pytest.mark.parametrize(("silent_s", "cpu_s", "verdict"), CASES)
def test_judges(silent_s: float, cpu_s: float, verdict: Verdict) -> None:
    assert judge(Silence(silent_s=silent_s, cpu_s=cpu_s), timeout_s=TIMEOUT_S) is verdict


def test_a_patient_operator_is_not_overruled_by_the_grace_for_busy_nodes() -> None:
    patient_s = BUSY_TIMEOUT_S + 3
    just_before = Silence(silent_s=patient_s - 0.1, cpu_s=patient_s)
    assert judge(just_before, timeout_s=patient_s) is Verdict.SUSPECT
    at_last = Silence(silent_s=patient_s, cpu_s=patient_s)
    assert judge(at_last, timeout_s=patient_s) is Verdict.DOWN


def test_busy_time_outlasts_the_engines_own_limit_of_scripts() -> None:
    assert BUSY_TIMEOUT_S > 5.0
    assert 0 < BUSY_SHARE_MIN < 1


@pytest.mark.parametrize(
    ("owed_since_s", "expected_s"),
    [
        pytest.param([], 0.5, id="nobody-owes"),
        pytest.param([9.9], 0.5, id="just-asked"),
        pytest.param([8.3, 9.9], 0.3, id="the-first-is-due-within-a-round"),
        pytest.param([8.0000001], PAUSE_S_MIN, id="a-moment-too-early"),
        pytest.param([7.0, 8.0], 0.5, id="long-enough-and-busy"),
    ],
)
def test_looks_again_when_a_silence_is_long_enough(
    owed_since_s: list[float], expected_s: float
) -> None:
    pause = pause_s(owed_since_s, now_s=10.0, timeout_s=TIMEOUT_S, round_s=0.5)
    assert pause == pytest.approx(expected_s)
