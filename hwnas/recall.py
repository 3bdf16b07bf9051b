"""Recall: how much of each class is found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.accuracy import mean_accuracy_interval, seed_half_width, wilson_interval
from hwnas.front import Metric
from hwnas.recall_names import recall_name


def recall_metrics(
    predicted: NDArray[np.int64],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    split: str = "test",
) -> dict[str, Metric]:
    """Return ``recall``, the mean over the classes, and ``recall(CLASS)`` of each class.

    The recall of a class is the share of its samples that are classified right. With several
    networks, trained with other seeds, each is the mean over them. A class without samples
    has no recall; the mean is over the others, which makes it `Metric.partial`.

    The interval of a class is that of an accuracy on its samples. For the mean over classes,
    whose samples are independent, the distances to the ends of the classes' Wilson intervals
    add in squares; those of the seeds, which the classes share, are added in squares to them.

    Args:
        predicted: Classes that k networks answered, shape ``(k, n)``.
        labels: Of the samples, shape ``(n,)``.
        class_names: By class.
        split: Of the samples.

    Raises:
        ValueError: For shapes that do not fit, or no sample.

    References:
        Zou & Donner (2008), Construction of confidence limits about effect measures, Sec. 2:
        limits of a sum from those of its parts. doi:10.1002/sim.3095
    """
    if predicted.ndim != 2 or not predicted.size or predicted.shape[1:] != labels.shape:
        raise ValueError(
            f"wanted predictions (k, n) of n labels. Got {predicted.shape} and {labels.shape}."
        )
    k = len(predicted)
    counts = [int(np.sum(labels == c)) for c in range(len(class_names))]
    recalls = {
        c: np.mean(predicted[:, labels == c] == c, axis=1) for c, n in enumerate(counts) if n
    }
    metrics = {
        recall_name(class_names[c]): Metric(
            float(np.mean(found)), "measured", *_interval(found, counts[c]), seeds=k, split=split
        )
        for c, found in recalls.items()
    }
    missing = [name for name, n in zip(class_names, counts, strict=True) if not n]
    note = f"without {', '.join(missing)}, of which there is no sample" if missing else None
    by_class = np.stack(list(recalls.values()))
    low, high = _macro_interval(by_class, [counts[c] for c in recalls])
    mean = float(np.mean(by_class))
    macro = Metric(
        mean, "measured", low, high, seeds=k, split=split, note=note, partial=bool(missing) or None
    )
    return {"recall": macro, **metrics}


def _interval(recalls: NDArray[np.float64], n: int) -> tuple[float, float]:
    if len(recalls) == 1:
        return wilson_interval(round(float(recalls[0]) * n), n)
    return mean_accuracy_interval(recalls.tolist(), n)


def _macro_interval(recalls: NDArray[np.float64], counts: Sequence[int]) -> tuple[float, float]:
    """Return the interval of the mean of recalls of shape ``(classes, k)``."""
    classes, k = recalls.shape
    below, above = 0.0, 0.0
    for mean, n in zip(recalls.mean(axis=1), counts, strict=True):
        low, high = wilson_interval(round(float(mean) * n), n)
        below += max(0.0, mean - low) ** 2
        above += max(0.0, high - mean) ** 2
    seeds = seed_half_width(recalls.mean(axis=0).tolist()) if k > 1 else 0.0
    mean = float(recalls.mean())
    return (
        max(0.0, mean - float(np.hypot(np.sqrt(below) / classes, seeds))),
        min(1.0, mean + float(np.hypot(np.sqrt(above) / classes, seeds))),
    )
