"""Variants of two front members, derived for real: measured by ONNX Runtime, judged by hand."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hwnas.bits import unpack_bits
from hwnas.candidate_training import load_network
from hwnas.deriving import chosen_members, derive_variants
from hwnas.errors import UserError
from hwnas.form_judging import FormJudge, JudgedVariant, MeasuredForm
from hwnas.front import Candidate, Metric, ParetoFront
from hwnas.search_context import SearchContext
from hwnas.target_checking import open_target
from hwnas.training_pool import TrainingPool
from hwnas.variants import Variant, Variants
from tests.unit.hwnas.untrained_search import finalist, random_dataset, untrained_search

# nothing here is trained
TRAINERS = cast(TrainingPool, None)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchContext]:
    folder = tmp_path_factory.mktemp("deriving")
    with open_target("host-onnxruntime", folder / "cache") as target:
        yield untrained_search(
            folder / "run",
            target,
            random_dataset(),
            accuracy_drops=[0.0, 0.05],
            calibration_samples=16,
            max_int8_drop=0.99,
        )


def front_of(context: SearchContext, *members: Candidate) -> ParetoFront:
    return ParetoFront(context.objectives, context.scale, members)


@pytest.fixture(scope="module")
def front(context: SearchContext) -> ParetoFront:
    return front_of(context, finalist(context, 1), finalist(context, 5, latency_s=1e-4))


@pytest.fixture(scope="module")
def variants(context: SearchContext, front: ParetoFront) -> Variants:
    return derive_variants(context, front, TRAINERS)


def test_every_member_is_measured_in_each_precision_with_and_without_exits(
    front: ParetoFront, variants: Variants
) -> None:
    forms = Counter(
        (v.form.arch_id, v.form.precision, v.form.has_exits)
        for v in variants.variants
        if not v.policy_index
    )
    ids = [m.architecture.arch_id for m in front.members]
    assert forms == dict.fromkeys(itertools.product(ids, ["float32", "int8"], [True, False]), 1)
    names = [v.variant_id for v in variants.variants]
    assert len(set(names)) == len(names)
    assert all(v.metrics["latency_s"].provenance == "measured" for v in variants.variants)


def leaves_at(context: SearchContext, variant: Variant, x: NDArray[np.float32]) -> list[list[int]]:
    """Return class and exit of each sample, by the definition of an exit policy."""
    arch = context.space.sample(np.random.default_rng(1))
    if arch.arch_id != variant.form.arch_id:
        arch = context.space.sample(np.random.default_rng(5))
    network = load_network(context.space, arch, context.run.checkpoints / variant.form.checkpoint)
    with torch.no_grad():
        exits = [z.double() for z in network(torch.from_numpy(x))]
    if not variant.form.has_exits:
        exits = exits[-1:]
    policy, found = variant.policy, []
    for row in range(len(x)):
        for index, logits in enumerate(exits):
            p = torch.softmax(logits[row] / (policy.temperatures or (1.0,) * 9)[index], 0)
            ordered = p.sort().values
            sure = {
                "max_probability": ordered[-1],
                "entropy": 1 + (p * p.log()).sum() / np.log(len(p)),
                "margin": ordered[-1] - ordered[-2],
            }[policy.measure]
            if index == len(exits) - 1 or sure >= policy.thresholds[index]:
                found.append([int(logits[row].argmax()), index])
                break
    return found


def test_accuracy_and_shares_are_those_of_each_sample_by_hand(
    context: SearchContext, variants: Variants
) -> None:
    data, judged = context.dataset, 0
    for path in context.run.variants.glob("*-float32*.json"):
        for stored in json.loads(path.read_text())["variants"]:
            variant = Variant.from_dict(stored["variant"])
            assert variant.variant_id in {v.variant_id for v in variants.variants}
            for split, key in ((data.test, "correct"), (data.validation, "validation_correct")):
                answers = leaves_at(context, variant, split.x)
                right = [label == y for (label, _), y in zip(answers, split.y, strict=True)]
                deployed = unpack_bits(stored[key]["rows"][0], stored[key]["n"])
                assert deployed.tolist() == right
            left = Counter(exit_index for _, exit_index in answers)
            assert variant.exit_shares == pytest.approx(
                [left[k] / len(answers) for k in range(len(variant.exit_shares))]
            )
            judged += 1
    assert judged >= 4


def test_nothing_feasible_beats_what_is_on_the_front(variants: Variants) -> None:
    points = [
        (v, v.metrics["validation_accuracy"].value, v.metrics["latency_s"].value)
        for v in variants.variants
    ]
    for variant, accuracy, latency_s in points:
        beaten = any(
            (a >= accuracy and t <= latency_s) and (a > accuracy or t < latency_s)
            for _, a, t in points
        )
        assert variant.on_front == (not beaten)
    assert [v.on_front for v in variants.variants] == sorted(
        (v.on_front for v in variants.variants), reverse=True
    )


def test_what_is_known_in_another_way_beats_nothing(
    context: SearchContext, front: ParetoFront, variants: Variants
) -> None:
    """Such as modelled energies and measured ones; here latencies, all int8 ones emulated."""
    kept = {path: path.read_bytes() for path in context.run.variants.glob("*-int8*.json")}
    try:
        for path, content in kept.items():
            document = json.loads(content)
            for stored in document["variants"]:
                stored["variant"]["metrics"]["latency_s"]["provenance"] = "emulated"
            path.write_text(json.dumps(document))
        found = derive_variants(context, front, TRAINERS)
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    for precision in ("float32", "int8"):
        own = [v for v in found.variants if v.form.precision == precision]
        points = [
            (v.metrics["validation_accuracy"].value, v.metrics["latency_s"].value) for v in own
        ]
        for variant, (accuracy, latency_s) in zip(own, points, strict=True):
            beaten = any(
                a >= accuracy and t <= latency_s and (a, t) != (accuracy, latency_s)
                for a, t in points
            )
            assert variant.on_front == (not beaten)
    assert {v.form.precision for v in found.front} == {"float32", "int8"}


def test_drops_are_counted_from_the_most_accurate_network_without_exits(
    variants: Variants,
) -> None:
    baseline = variants.named(variants.baseline)
    static = [
        v.metrics["validation_accuracy"].value
        for v in variants.variants
        if v.form.precision == "float32" and not v.form.has_exits
    ]
    assert (baseline.form.precision, baseline.form.has_exits) == ("float32", False)
    assert baseline.metrics["validation_accuracy"].value == max(static)
    for variant in variants.variants:
        for prefix, split in (("", "test"), ("validation_", "validation")):
            drop = variant.metrics[f"{prefix}accuracy_drop"]
            assert drop.split == split
            assert drop.value == pytest.approx(
                baseline.metrics[f"{prefix}accuracy"].value
                - variant.metrics[f"{prefix}accuracy"].value
            )


def test_kept_is_what_has_a_variant_on_the_front(variants: Variants) -> None:
    on_front = {(v.form.arch_id, v.form.precision, v.form.has_exits) for v in variants.front}
    told = {(a.arch_id, a.what): a.kept for a in variants.attempts}
    ids = {v.form.arch_id for v in variants.variants}
    assert told == {
        **{(i, "int8"): (i, "int8", True) in on_front for i in ids},
        **{(i, "int8 without exits"): (i, "int8", False) in on_front for i in ids},
        **{
            (i, "early exits"): bool({(i, "float32", True), (i, "int8", True)} & on_front)
            for i in ids
        },
    }


def test_only_what_was_derived_of_a_member_that_changed_is_derived_again(
    context: SearchContext, front: ParetoFront, variants: Variants
) -> None:
    def written() -> dict[str, int]:
        return {p.name: p.stat().st_mtime_ns for p in context.run.variants.glob("*.json")}

    before = written()
    assert derive_variants(context, front, TRAINERS) == variants
    assert written() == before
    first, second = front.members
    other = replace(second, deployment=replace(second.deployment, max_accuracy_drop=0.02))
    derive_variants(context, front_of(context, first, other), TRAINERS)
    changed = {name for name, at in written().items() if at != before[name]}
    assert changed == {n for n in before if n.startswith(second.architecture.arch_id)}


def test_a_damaged_result_is_told_in_one_line(
    context: SearchContext, front: ParetoFront, variants: Variants
) -> None:
    path = next(context.run.variants.glob("*-int8.json"))
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-9])
        with pytest.raises(UserError, match=rf"{path.name}: damaged .*--resume"):
            derive_variants(context, front, TRAINERS)
    finally:
        path.write_bytes(content)


def test_a_result_of_before_there_were_keys_is_derived_again(
    context: SearchContext, front: ParetoFront, variants: Variants
) -> None:
    path = next(context.run.variants.glob("*-float32.json"))
    content = path.read_bytes()
    document = json.loads(content)
    try:
        path.write_text(json.dumps({k: v for k, v in document.items() if k != "key"}))
        derive_variants(context, front, TRAINERS)
        assert json.loads(path.read_bytes())["key"] == document["key"]
    finally:
        path.write_bytes(content)


def test_a_step_that_dies_midway_leaves_no_result_that_names_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def networks() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in context.run.variants.glob("*.onnx")}

    def derive(calibration_samples: int) -> None:
        wanted = {"calibration_samples": calibration_samples}
        deployment = context.config.deployment.model_copy(update=wanted)
        context.config = context.config.model_copy(update={"deployment": deployment})
        derive_variants(context, front_of(context, finalist(context, 1)), TRAINERS)

    def interrupted(self: FormJudge, form: MeasuredForm) -> list[JudgedVariant]:
        if form.form.precision == "int8":
            raise KeyboardInterrupt
        return judge(self, form)

    judge = FormJudge.judge
    with open_target("host-onnxruntime", tmp_path / "cache") as target:
        context = untrained_search(
            tmp_path / "run", target, random_dataset(), accuracy_drops=[0.0], max_int8_drop=0.99
        )
        derive(calibration_samples=16)
        before = networks()
        with monkeypatch.context() as patch:
            patch.setattr(FormJudge, "judge", interrupted)
            with pytest.raises(KeyboardInterrupt):
                derive(calibration_samples=2)
        after = networks()
        replaced = {name for name in before if after[name] != before[name]}
        assert replaced
        results = [p for p in context.run.path.rglob("*.json") if p.parent.name != "checkpoints"]
        assert results  # of what was finished
        assert not [(p, n) for p in results for n in replaced if n in p.read_text()]
        assert not context.run.variants_json.exists()
        # nor do the settings of before find what is no longer theirs
        derive(calibration_samples=16)
        assert networks() == before


def test_members_that_one_lucky_training_chose_are_left_out_where_others_are(
    context: SearchContext, front: ParetoFront
) -> None:
    lucky, sound = front.members
    metrics = {
        **lucky.metrics,
        "validation_accuracy": Metric(0.9, "measured", seeds=1, selected=True),
    }
    lucky = replace(lucky, metrics=metrics)
    assert chosen_members(front_of(context, lucky, sound), 4) == [sound]
    assert chosen_members(front_of(context, lucky), 4) == [lucky]


def test_what_is_derived_of_a_lucky_training_is_compared_without_its_luck(
    context: SearchContext, front: ParetoFront
) -> None:
    lucky, _ = front.members
    arch_id = lucky.architecture.arch_id
    accuracy = replace(lucky.metrics["validation_accuracy"], selected=True)
    lucky = replace(
        lucky,
        metrics={
            **lucky.metrics,
            "validation_accuracy": replace(accuracy, expected=accuracy.value - 0.03),
        },
    )
    # of a single training, as of a member that was not retrained
    kept = {path: path.read_bytes() for path in context.run.variants.glob(f"{arch_id}-*.json")}
    try:
        for path, content in kept.items():
            document = json.loads(content)
            for stored in document["variants"]:
                stored["variant"]["metrics"]["validation_accuracy"]["selected"] = True
            path.write_text(json.dumps(document))
        found = derive_variants(context, front_of(context, lucky), TRAINERS)
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert found.variants
    for variant in found.variants:
        metric = variant.metrics["validation_accuracy"]
        assert metric.chosen_by == pytest.approx(metric.value - 0.03)
    accuracies = [v.metrics["validation_accuracy"].chosen_by for v in found.front]
    assert accuracies == sorted(accuracies, reverse=True)
