"""What a variant's accuracy loses against the baseline."""

from __future__ import annotations

from hwnas.accuracy_comparison import Correct, compare_accuracy
from hwnas.front import Metric


def accuracy_drop(
    correct: Correct, baseline: Correct, split: str = "test", *, by_seed: bool = False
) -> Metric:
    """Return the accuracy of the baseline less that of a variant, on the same samples.

    Paired by sample, so that a variant which errs where the baseline does has a narrow
    interval on few samples already; see `compare_accuracy`. Negative where it gains.

    Args:
        correct: Which samples each seed's network got right, shape ``(k, n)``.
        baseline: Likewise ``(l, n)``, in the same order of samples.
        split: Of the samples.
        by_seed: Whether the baseline's networks are of the same architecture and seeds, row by
            row: then they share their luck, and only what differs from seed to seed counts.

    Raises:
        ValueError: As `compare_accuracy`.
    """
    found = compare_accuracy("baseline", correct, baseline, by_seed=by_seed)
    # no -0.0, which prints as a loss would
    value = 0.0 - found.difference
    return Metric(
        value, "measured", 0.0 - found.high, 0.0 - found.low, seeds=len(correct), split=split
    )
