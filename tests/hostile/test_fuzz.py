"""A round of every fuzz target, and that no fault stays hidden; `python -m tests.hostile.fuzz` runs for longer."""

from pathlib import Path

import pytest

from tests.hostile.fuzz import Target, every_target, fuzz

NAMES = (
    *("encoders", "passages"),
    *("manifest", "folder", "config", "tokenizer", "reference outputs"),
    *("spans", "answers", "inputs"),
)


@pytest.fixture(scope="module")
def targets(tiny: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return {target.name: target for target in every_target(tmp_path_factory.mktemp("fuzz"), tiny["reader"])}


@pytest.mark.ci
@pytest.mark.parametrize("name", NAMES)
def test_a_round_of_cases_finds_no_fault(name: str, targets: dict[str, Target]) -> None:
    tally = fuzz(targets[name], seconds=0, first_seed=0)
    assert tally.examples >= 100
    assert not tally.faults, "\n".join(tally.faults.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_minute_of_cases_finds_no_fault(name: str, targets: dict[str, Target]) -> None:
    tally = fuzz(targets[name], seconds=60, first_seed=1000)
    assert not tally.faults, "\n".join(tally.faults.values())


def test_every_target_is_run(targets: dict[str, Target]) -> None:
    assert tuple(targets) == NAMES


def test_two_faults_are_both_found_and_shrunk_to_small_cases() -> None:
    def check(case: list[int]) -> None:
        if len(case) > 3:
            raise KeyError("too many")
        if 7 in case:
            raise ValueError("a seven")

    target = Target("broken", lambda chance: [chance.randint(0, 9) for _ in range(chance.randint(0, 9))], check)
    faults = fuzz(target, seconds=5, first_seed=0).faults
    assert sorted(name.split()[0] for name in faults) == ["KeyError", "ValueError"]
    assert any("case=[7]" in report for report in faults.values())
    assert any("case=[0, 0, 0, 0]" in report for report in faults.values())


def test_a_warning_is_a_fault() -> None:
    def check(case: int) -> None:
        import warnings

        warnings.warn(f"{case} is odd", stacklevel=1)

    assert "UserWarning" in next(iter(fuzz(Target("loud", lambda _: 1, check), seconds=0, first_seed=0).faults))
