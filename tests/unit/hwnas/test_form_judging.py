"""Variants of one form and their metrics, from answers and times small enough to judge by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.config import EarlyExitConfig
from hwnas.datasets import Dataset, Split
from hwnas.form_judging import FormJudge, JudgedVariant, MeasuredForm, SeedLogits
from hwnas.variants import NetworkForm
from latency_predictors import MeasuredArchitecture
from search_spaces import Architecture, Workload
from targets import MeasureConfig, Measurement, load_spec
from tests.unit.hwnas.quantized_networks import exported, two_stages

SURE_0, SURE_1, LIKELY_0, LIKELY_1 = [5.0, 0.0], [0.0, 5.0], [0.2, 0.0], [0.0, 0.2]
NO_X = np.zeros((4, 1, 8, 8), np.float32)
DATASET = Dataset(
    "by hand",
    ("no", "yes"),
    Split(NO_X, np.array([0, 1, 0, 1])),
    Split(NO_X, np.array([0, 1, 0, 1])),
    Split(NO_X, np.array([0, 1, 1, 1])),
    {},
)
EXITS = EarlyExitConfig(temperature_scaling=False, measure="max_probability")


def logits(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


# the first exit is sure and right of two samples, unsure and wrong of two; the last is right
FIRST = [logits(SURE_0, SURE_1, LIKELY_1, LIKELY_0), logits(SURE_0, SURE_1, SURE_0, SURE_1)]
# the first exit is sure and wrong of all
SECOND = [logits(SURE_1, SURE_0, SURE_1, SURE_0), logits(SURE_0, SURE_1, SURE_0, SURE_1)]
SECOND_ON_TEST = [SECOND[0], logits(SURE_0, SURE_1, SURE_1, SURE_1)]


def measured(latency_s: float) -> Measurement:
    return Measurement("host", "", "", (latency_s,) * 9, 9000, 100, MeasureConfig(), "measured")


def found() -> MeasuredForm:
    graph = (Workload("linear", (16,), (10,)),)
    times = MeasuredArchitecture(
        Architecture("toy", ()), (graph, graph), (measured(1e-3), measured(3e-3))
    )
    form = NetworkForm("a1", "plain", "float32", "a1.safetensors", ("0.onnx", "1.onnx"))
    answers = (SeedLogits(FIRST, FIRST), SeedLogits(SECOND, SECOND_ON_TEST))
    return MeasuredForm(form, exported(two_stages()), answers, times, load_spec("host"))


def judged(form: MeasuredForm, *drops: float) -> list[JudgedVariant]:
    return FormJudge(DATASET, EXITS, drops, None).judge(form)


def test_every_seed_has_its_own_policy_and_the_first_ones_is_deployed() -> None:
    (item,) = judged(found(), 0.0)
    variant, metrics = item.variant, item.variant.metrics
    # half of the samples leave early: between the two confidences, 0.993 and 0.550
    assert variant.exit_shares == (0.5, 0.5)
    assert variant.policy.thresholds[0] == pytest.approx((0.99331 + 0.54983) / 2, abs=1e-5)
    # the second seed's network answers at its last exit alone, or it would be wrong
    assert metrics["validation_accuracy"].value == 1
    assert item.correct.tolist() == [[True, True, False, True], [True] * 4]
    assert item.validation_correct.all()
    assert metrics["accuracy"].value == pytest.approx((3 / 4 + 1) / 2)
    assert (metrics["accuracy"].seeds, metrics["accuracy"].split) == (2, "test")
    # 0.5 * 1 ms + 0.5 * 4 ms
    assert metrics["latency_s"].value == pytest.approx(2.5e-3)
    assert metrics["worst_latency_s"].value == pytest.approx(4e-3)


def test_recall_is_known_of_both_splits() -> None:
    (item,) = judged(found(), 0.0)
    metrics = item.variant.metrics
    # of three test samples of the class the first seed finds two, the second three
    assert metrics["recall(yes)"].value == pytest.approx(5 / 6)
    assert metrics["recall"].value == pytest.approx((1 + 5 / 6) / 2)
    assert metrics["validation_recall(yes)"].value == 1
    assert {metrics[f"{p}recall(no)"].split for p in ("", "validation_")} == {"test", "validation"}


def test_a_policy_for_each_drop_that_gives_another_one() -> None:
    exact, also, cheap = 0.0, 0.1, 0.5
    variants = [item.variant for item in judged(found(), exact, also, cheap)]
    # half of the accuracy for answers at the first exit alone, 1 ms; 0.1 buys nothing
    assert [v.exit_shares for v in variants] == [(0.5, 0.5), (1.0, 0.0)]
    assert [v.policy_index for v in variants] == [0, 1]
    assert variants[1].metrics["latency_s"].value == pytest.approx(1e-3)
    # the first seed loses half, the second cannot leave early for that
    assert variants[1].metrics["validation_accuracy"].value == pytest.approx((0.5 + 1) / 2)


@pytest.mark.parametrize("selected", [True, False])
def test_validation_accuracy_that_chose_the_network_says_so(selected: bool) -> None:
    form = found()
    alone = replace(form, answers=form.answers[:1], selected=selected)
    (item,) = judged(alone, 0.0)
    assert bool(item.variant.metrics["validation_accuracy"].selected) == selected
    assert item.variant.metrics["accuracy"].selected is None


def test_what_was_judged_is_read_as_it_was_written() -> None:
    (item,) = judged(found(), 0.0)
    again = JudgedVariant.from_dict(json.loads(json.dumps(item.to_dict())))
    assert again.variant == item.variant
    assert again.correct.tolist() == item.correct.tolist()
    assert again.validation_correct.tolist() == item.validation_correct.tolist()
