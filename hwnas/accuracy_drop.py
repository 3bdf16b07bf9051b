"""What a variant's accuracy loses against the baseline."""

from __future__ import annotations

from hwnas.accuracy_comparison import Correct, compare_accuracy
from hwnas.front import Metric


def accuracy_drop(correct: Correct, baseline: Correct, split: str = "test") -> Metric:
    """Return the accuracy of the baseline less that of a variant, on the same samples.

    Paired by sample, so that a variant which errs where the baseline does has a narrow
    interval on few samples already; see `compare_accuracy`. Negative where it gains.

    Args:
        correct: Which samples each seed's network got right, shape ``(k, n)``.
        baseline: Likewise ``(l, n)``, in the same order of samples.
        split: Of the samples.

    Raises:
        ValueError: As `compare_accuracy`.
    """
    found = compare_accuracy("baseline", correct, baseline)
    # no -0.0, which prints as a loss would
    value = 0.0 - found.difference
    return Metric(
        value, "measured", 0.0 - found.high, 0.0 - found.low, seeds=len(correct), split=split
    )
