"""What is tried with a front member, where it can be measured and where it cannot."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from hwnas.deriving import derive_variants
from hwnas.errors import UnreachableError
from hwnas.form_measuring import FormMeasuring
from hwnas.front import Candidate, ParetoFront
from hwnas.member_steps import MemberSteps, Step
from hwnas.search_context import SearchContext
from hwnas.target_checking import open_target
from hwnas.training_pool import TrainingPool
from targets import Failure, Measurement, Target, load_spec, open_measurement_log
from targets.onnxruntime_target import OnnxRuntimeTarget
from tests.unit.hwnas.untrained_search import finalist, random_dataset, untrained_search

# nothing here is trained
TRAINERS = cast(TrainingPool, None)


class DeadTarget(OnnxRuntimeTarget):
    """Compiles as any other, and never answers."""

    def measure(self, *arguments: Any, **settings: Any) -> Measurement | Failure:
        return Failure(self.name, "run", "the board does not answer")


@contextmanager
def searching(folder: Path, target: Target, **settings: Any) -> Iterator[SearchContext]:
    settings = {"accuracy_drops": [0.0], "calibration_samples": 16, **settings}
    with target:
        yield untrained_search(folder / "run", target, random_dataset(), **settings)


def steps(context: SearchContext, member: Candidate, teacher: Candidate | None) -> dict[str, Step]:
    with FormMeasuring(context) as measuring:
        found = MemberSteps(context, member, teacher, measuring, TRAINERS)
        return {step.name: step for step in found}


def test_what_is_tried_is_what_settings_and_member_allow(tmp_path: Path) -> None:
    settings = {"distillation": {}, "pruning": {"latency_share": 0.8}}
    target = open_target("host-onnxruntime", tmp_path / "cache")
    with searching(tmp_path, target, **settings) as context:
        member, teacher = finalist(context, 1), finalist(context, 5)
        plain = ["float32", "float32-static", "int8", "int8-static"]
        assert list(steps(context, member, teacher)) == [*plain, "distilled", "pruned"]
        # the most accurate member has no teacher
        assert list(steps(context, member, None)) == [*plain, "pruned"]
        static = replace(member, deployment=replace(member.deployment, exit_shares=(1.0,)))
        assert list(steps(context, static, None)) == ["float32", "int8", "pruned"]


def test_only_what_learns_from_a_teacher_depends_on_one(tmp_path: Path) -> None:
    target = open_target("host-onnxruntime", tmp_path / "cache")
    with searching(tmp_path, target, distillation={}) as context:
        member, teacher = finalist(context, 1), finalist(context, 5)
        deployment = replace(teacher.deployment, checkpoint="other.safetensors")
        before = steps(context, member, teacher)
        after = steps(context, member, replace(teacher, deployment=deployment))
        assert {n for n in before if before[n].key != after[n].key} == {"distilled"}


def test_a_target_that_names_nobody_to_run_int8_has_no_such_variants(tmp_path: Path) -> None:
    description = load_spec("host-onnxruntime").model_dump(mode="json", exclude_none=True)
    del description["quantized_target"]
    path = tmp_path / "board.yaml"
    path.write_text(yaml.safe_dump({**description, "name": "board"}))
    with searching(tmp_path, open_target(str(path), tmp_path / "cache")) as context:
        found = steps(context, finalist(context, 1), None)["int8"].take()
    assert found.forms == ()
    (told,) = found.attempts
    assert (told.what, told.kept) == ("int8", False)
    assert told.outcome == "target 'board' names no quantized_target that runs int8 on its device"


def test_what_could_not_be_measured_is_told_and_tried_again(tmp_path: Path) -> None:
    dead = DeadTarget(load_spec("host-onnxruntime"), tmp_path / "cache")
    with searching(tmp_path, dead) as context:
        member = finalist(context, 1)
        found = steps(context, member, None)["float32"].take()
        assert found.failed
        assert found.attempts[0].outcome == (
            "run failed on 'host-onnxruntime': the board does not answer"
        )
        front = ParetoFront(context.objectives, context.scale, (member,))
        with pytest.raises(UnreachableError, match="no variant could be measured"):
            derive_variants(context, front, TRAINERS)
        assert list(context.run.variants.iterdir()) == []
    with open_target("host-onnxruntime", tmp_path / "cache") as alive:
        context.target = alive
        derived = derive_variants(context, front, TRAINERS)
    assert {v.form.precision for v in derived.variants} >= {"float32", "int8"}


@pytest.mark.parametrize("finalists", [True, False])
def test_a_network_that_the_search_alone_trained_is_marked_as_chosen_by_its_accuracy(
    finalists: bool, tmp_path: Path
) -> None:
    target = open_target("host-onnxruntime", tmp_path / "cache")
    with searching(tmp_path, target, int8=False) as context:
        member = finalist(context, 1)
        if not finalists:
            for outcome in context.run.checkpoints.glob("*.json"):
                outcome.unlink()
        front = ParetoFront(context.objectives, context.scale, (member,))
        variants = derive_variants(context, front, TRAINERS).variants
    for variant in variants:
        metric = variant.metrics["validation_accuracy"]
        assert (metric.selected, metric.seeds) == ((None, 2) if finalists else (True, 1))
        assert ("validation_accuracy_drop" in variant.metrics) == finalists


def test_clocks_are_swept_of_what_may_be_deployed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network trained again by a teacher, with what it had before: no gain, and not kept."""
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    slow = {"name": "slow", "power_mode": 2, "active_power_w": 1.0}  # no mode of this computer
    description = load_spec("host-onnxruntime").model_dump(mode="json", exclude_none=True)
    path = tmp_path / "board.yaml"
    path.write_text(yaml.safe_dump({**description, "name": "board", "operating_points": [slow]}))

    def refused() -> int:
        heads = open_measurement_log().heads()
        return sum("wanted power mode 2" in head.fields.get("message", "") for head in heads)

    settings = {"int8": False, "every_clock": True, "distillation": {}}
    with searching(tmp_path, open_target(str(path)), **settings) as context:
        member, teacher = finalist(context, 1), finalist(context, 5)
        arch_id, by = (m.architecture.arch_id for m in (member, teacher))
        for file in context.run.checkpoints.glob(f"{arch_id}*"):
            name = file.name.replace(arch_id, f"{arch_id}-distilled-0.7-4-by-{by}")
            shutil.copyfile(file, file.with_name(name))
        pool = TrainingPool(context.config, tmp_path, 1)
        with pool, FormMeasuring(context) as measuring:
            taken = {s.name: s for s in MemberSteps(context, member, teacher, measuring, pool)}
            searched = taken["float32"].take()
            assert [a.what for a in searched.attempts] == [f"{arch_id}-float32 at slow"]
            assert refused() == 1
            distilled = taken["distilled"].take()
    assert [(a.what, a.kept) for a in distilled.attempts] == [("distilled", False)]
    assert refused() == 1
