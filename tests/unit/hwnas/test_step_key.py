"""What was derived of a member counts again only while the member is what it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwnas.front import Candidate
from hwnas.retraining import finalist_seeds
from hwnas.search_context import SearchContext
from hwnas.step_key import step_key
from hwnas.target_checking import open_target
from targets.spec import BOARDS
from tests.unit.hwnas.untrained_search import finalist, random_dataset, untrained_search


@pytest.fixture
def context(tmp_path: Path) -> SearchContext:
    # nothing here is measured
    describe(tmp_path / "int8.yaml", name="board-int8", quantized_target="board-int8")
    board = describe(tmp_path / "board.yaml", name="board", quantized_target="int8.yaml")
    target = open_target(str(board), tmp_path / "cache")
    return untrained_search(tmp_path / "run", target, random_dataset())


def describe(path: Path, **changes: Any) -> Path:
    """Write the description of this computer, but for some keys."""
    known = path if path.exists() else BOARDS / "host-onnxruntime.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(known.read_text()) | changes))
    return path


def other_weights(context: SearchContext, member: Candidate) -> Candidate:
    path = context.run.checkpoints / member.deployment.checkpoint
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return member


def other_outcome(context: SearchContext, member: Candidate) -> Candidate:
    seed = finalist_seeds(context)[1]
    path = context.run.checkpoint(member.architecture.arch_id, seed).with_suffix(".json")
    document = json.loads(path.read_text())
    document["policy"]["thresholds"] = [0.123]
    path.write_text(json.dumps(document))
    return member


def one_training_less(context: SearchContext, member: Candidate) -> Candidate:
    seed = finalist_seeds(context)[1]
    context.run.checkpoint(member.architecture.arch_id, seed).with_suffix(".json").unlink()
    return member


def other_drop(context: SearchContext, member: Candidate) -> Candidate:
    return replace(member, deployment=replace(member.deployment, max_accuracy_drop=0.02))


@pytest.mark.parametrize("change", [other_weights, other_outcome, one_training_less, other_drop])
def test_a_member_that_changed_has_another_key(
    change: Callable[[SearchContext, Candidate], Candidate], context: SearchContext
) -> None:
    member, other = finalist(context, 1), finalist(context, 5)
    before, as_teacher = step_key(context, member), step_key(context, other, member)
    assert step_key(context, member) == before
    changed = change(context, member)
    assert step_key(context, changed) != before
    # nor does its student's count, nor that of another teacher
    assert step_key(context, other, changed) != as_teacher
    assert step_key(context, other) not in (before, as_teacher)


def test_metrics_of_a_front_that_was_measured_again_change_nothing(
    context: SearchContext,
) -> None:
    member = finalist(context, 1)
    again = replace(member, metrics={}, on_front=False)
    assert step_key(context, again) == step_key(context, member)


def test_other_variants_wanted_have_another_key(context: SearchContext) -> None:
    member = finalist(context, 1)
    before = step_key(context, member)
    wanted = context.config.deployment.model_copy(update={"calibration_samples": 64})
    context.config = context.config.model_copy(update={"deployment": wanted})
    assert step_key(context, member) != before


FITTED = {
    "static_power_w": 3.0,
    "energy_per_mac_j": 1e-11,
    "energy_per_byte_j": 1e-11,
    "relative_uncertainty": 0.1,
    "source": "fitted to a meter",
}
SLOW = [{"name": "slow", "clock_khz": 600_000}]


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("board.yaml", {"energy_model": FITTED}),
        ("board.yaml", {"operating_points": SLOW}),
        ("board.yaml", {"quantized_target": "host-onnxruntime"}),
        ("int8.yaml", {"energy_model": FITTED}),
        ("int8.yaml", {"operating_points": SLOW}),
        ("int8.yaml", {"threads": 2}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_target_whose_file_was_edited_has_another_key(
    file: str, changes: dict[str, Any], context: SearchContext, tmp_path: Path
) -> None:
    member = finalist(context, 1)
    before = step_key(context, member)
    describe(tmp_path / file, **changes)
    context.target = open_target(str(tmp_path / "board.yaml"), tmp_path / "cache")
    assert step_key(context, member) != before


def test_where_the_files_lie_and_what_they_say_to_people_changes_nothing(
    context: SearchContext, tmp_path: Path
) -> None:
    member = finalist(context, 1)
    before = step_key(context, member)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("board.yaml", "int8.yaml"):
        describe(tmp_path / name, description="On the shelf").rename(moved / name)
    context.target = open_target(str(moved / "board.yaml"), tmp_path / "cache")
    assert step_key(context, member) == before


def test_who_runs_quantized_models_matters_to_those_who_want_them_alone(
    context: SearchContext, tmp_path: Path
) -> None:
    wanted = context.config.deployment.model_copy(update={"int8": False})
    context.config = context.config.model_copy(update={"deployment": wanted})
    member = finalist(context, 1)
    before = step_key(context, member)
    (tmp_path / "int8.yaml").unlink()
    assert step_key(context, member) == before
