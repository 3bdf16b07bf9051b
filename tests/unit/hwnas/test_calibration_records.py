"""A calibration in a folder: what is lost when a board dies (nothing), and what is forgotten."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hwnas.calibration_records import CalibrationFolder, calibrate_into
from hwnas.config import SpaceConfig
from hwnas.errors import UnreachableError, UserError
from hwnas.predictor_store import PREDICTOR_FILE, SpaceDescription
from hwnas.progress import SilentProgress
from latency_predictors import TargetPredictors, calibrate, campaign
from latency_predictors.active import Goal, calibrate_within
from tests.unit.latency_predictors.formula_target import FormulaTarget
from tests.unit.latency_predictors.law_device import LawDevice

DESCRIPTION = SpaceDescription(SpaceConfig(name="depthwise_separable"), (1, 16, 16), 4)
FIXED = partial(calibrate, samples=10, held_out=4)
TO_A_GOAL = partial(calibrate_within, goal=Goal(within=0.3, share=0.7, max_samples=60))


def run(folder: Path, how: Any, fresh: bool = False) -> TargetPredictors:
    return calibrate_into(
        folder,
        FormulaTarget(),
        DESCRIPTION,
        how,
        seed=0,
        progress=SilentProgress(),
        fresh=fresh,
    )


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(**options: Any) -> LawDevice:
        law = LawDevice(noise_std=0.01, **options)
        monkeypatch.setattr(campaign, "measure_architecture", law)
        return law

    return install


@pytest.mark.parametrize("how", [FIXED, TO_A_GOAL], ids=["fixed", "goal"])
@pytest.mark.parametrize("n_before", [3, 13])
def test_a_board_that_dies_loses_nothing_and_the_same_command_ends_as_if_it_had_not(
    how: Any, n_before: int, device: Any, tmp_path: Path
) -> None:
    whole = device()
    uninterrupted = run(tmp_path / "whole", how)
    n_all = len(whole.asked)

    device(dies_after=n_before)
    with pytest.raises(
        UnreachableError, match=r"no route to host.*targets check formula"
    ) as raised:
        run(tmp_path / "parts", how)
    assert raised.value.exit_code == 3
    assert not (tmp_path / "parts" / PREDICTOR_FILE).exists()

    again = device()
    resumed = run(tmp_path / "parts", how)
    assert len(again.asked) == n_all - n_before
    assert resumed.report == {**uninterrupted.report, "n_failures": resumed.report["n_failures"]}
    for name, predictor in resumed.predictors.items():
        assert predictor.to_dict() == uninterrupted.predictors[name].to_dict()


def test_a_finished_calibration_is_not_measured_again_unless_it_is_to_be_fresh(
    device: Any, tmp_path: Path
) -> None:
    first = device()
    run(tmp_path, FIXED)
    assert len(first.asked) == 10 + 4 + 5
    second = device()
    run(tmp_path, FIXED)
    assert second.asked == []
    # the law's measurements are of long ago, so that none of them counts any more
    third = device()
    run(tmp_path, FIXED, fresh=True)
    assert len(third.asked) == 10 + 4 + 5


def test_a_damaged_record_is_one_line_with_its_place(device: Any, tmp_path: Path) -> None:
    device()
    run(tmp_path, FIXED)
    path = CalibrationFolder(tmp_path).records.path
    lines = path.read_text().splitlines()
    record = json.loads(lines[0])
    record["schema_version"] = 99
    path.write_text("\n".join([json.dumps(record), *lines[1:]]) + "\n")
    with pytest.raises(UserError, match=r"measurements.jsonl.*schema_version 99.*Move the file"):
        run(tmp_path, FIXED)


def test_a_damaged_time_says_to_calibrate_afresh(device: Any, tmp_path: Path) -> None:
    device()
    (tmp_path / "measured-since.json").write_text('{"since": 3}')
    with pytest.raises(UserError, match="--fresh"):
        run(tmp_path, FIXED)
