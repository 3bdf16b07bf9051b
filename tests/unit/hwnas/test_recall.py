"""Recall against counts and intervals worked out by hand, and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import recall_score

from hwnas.accuracy import mean_accuracy_interval, wilson_interval
from hwnas.accuracy_drop import accuracy_drop
from hwnas.recall import recall_metrics

NAMES = ("no", "yes", "silence")


def test_recall_is_the_share_of_each_class_that_is_found() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2])
    predicted = np.array([[0, 0, 0, 1, 1, 0, 2, 2, 2, 2]])
    found = recall_metrics(predicted, labels, NAMES)
    assert found["recall(no)"].value == 3 / 4
    assert found["recall(yes)"].value == 1 / 2
    assert found["recall(silence)"].value == 1.0
    assert found["recall"].value == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    # Wilson's interval of 3 of 4 by its closed form, z^2 = 3.8415: (1.2302 +- 0.6408) / 1.9604
    assert (found["recall(no)"].low, found["recall(no)"].high) == pytest.approx(
        (0.3006, 0.9544), abs=1e-4
    )
    assert {m.provenance for m in found.values()} == {"measured"}


def test_the_mean_over_classes_joins_their_wilson_intervals_in_squares() -> None:
    labels = np.repeat([0, 1], 10)
    predicted = np.array([[0] * 9 + [1] + [1] * 8 + [0] * 2])
    macro = recall_metrics(predicted, labels, NAMES[:2])["recall"]
    (low_0, high_0), (low_1, high_1) = wilson_interval(9, 10), wilson_interval(8, 10)
    below = ((0.9 - low_0) ** 2 + (0.8 - low_1) ** 2) ** 0.5 / 2
    above = ((high_0 - 0.9) ** 2 + (high_1 - 0.8) ** 2) ** 0.5 / 2
    assert (macro.low, macro.high) == pytest.approx((0.85 - below, 0.85 + above))


def test_of_several_seeds_the_mean_counts_with_their_scatter() -> None:
    labels = np.zeros(10, dtype=np.int64)
    predicted = np.array([[0] * 9 + [1], [0] * 7 + [1] * 3])
    found = recall_metrics(predicted, labels, ("no",))
    for metric in found.values():
        assert metric.value == pytest.approx(0.8)
        assert metric.seeds == 2
        assert (metric.low, metric.high) == pytest.approx(mean_accuracy_interval([0.9, 0.7], 10))


def test_a_class_without_samples_has_no_recall_and_the_mean_says_so() -> None:
    found = recall_metrics(np.array([[0, 1]]), np.array([0, 0]), NAMES)
    assert set(found) == {"recall", "recall(no)"}
    assert found["recall"].value == 0.5
    assert found["recall"].note == "without yes, silence, of which there is no sample"
    assert (found["recall"].partial, found["recall(no)"].partial) == (True, None)


@given(
    labels=arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 2)),
    seed=st.integers(0, 2**32 - 1),
)
def test_recall_is_that_of_scikit_learn_inside_its_interval(
    labels: np.ndarray[tuple[int], np.dtype[np.int64]], seed: int
) -> None:
    predicted = np.random.default_rng(seed).integers(0, 3, len(labels))
    present = sorted(set(labels.tolist()))
    found = recall_metrics(predicted[None], labels, NAMES)
    reference = recall_score(labels, predicted, labels=present, average=None)
    for c, value in zip(present, reference, strict=True):
        metric = found[f"recall({NAMES[c]})"]
        assert metric.value == pytest.approx(value)
        assert metric.lower_bound <= metric.value <= metric.upper_bound
    assert found["recall"].value == pytest.approx(np.mean(reference))
    assert found["recall"].lower_bound <= found["recall"].value <= found["recall"].upper_bound


@pytest.mark.parametrize("shape", [(4,), (1, 3), (0, 4)])
def test_predictions_that_are_not_of_the_labels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="wanted predictions"):
        recall_metrics(np.zeros(shape, np.int64), np.zeros(4, np.int64), NAMES)


def test_the_drop_of_accuracy_is_paired_by_sample() -> None:
    baseline = np.ones((1, 1000), dtype=np.bool_)
    baseline[0, :100] = False
    variant = baseline.copy()
    # loses four, gains one
    variant[0, 500:504], variant[0, 0] = False, True
    drop = accuracy_drop(variant, baseline)
    assert drop.value == pytest.approx(3e-3)
    # of five samples that differ: sd of 3 is sqrt(5), so that 3 + 2 * sqrt(5) of 1000 at most,
    # where two separate intervals of 1000 samples at 90 % would reach 2.6 %
    assert drop.upper_bound == pytest.approx(3e-3 + 2 * 5**0.5 / 1000, rel=0.15)
    assert drop.provenance == "measured"


def test_a_variant_equal_to_the_baseline_loses_nothing_for_all_that_is_known() -> None:
    same = np.ones((2, 100), dtype=np.bool_)
    drop = accuracy_drop(same, same)
    assert str(drop.value) == "0.0"
    assert drop.lower_bound < 0 < drop.upper_bound
