"""Calibrate predictors of a target on a search space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from hwnas.calibration_records import calibrate_into
from hwnas.calibration_sources import load_sources
from hwnas.config import SpaceConfig, load_config
from hwnas.errors import UserError
from hwnas.predictor_store import SpaceDescription, predictor_folder
from hwnas.progress import ProgressReporter, SilentProgress
from hwnas.target_checking import open_target
from latency_predictors.active import Goal, calibrate_within
from latency_predictors.calibration import calibrate as learn
from latency_predictors.campaign import Campaign
from latency_predictors.target_predictors import TargetPredictors
from search_spaces import Shape

_SAMPLES, _HELD_OUT = 40, 20
_SHARE, _MAX_SAMPLES = 0.95, 300


def calibrate(
    target: str,
    space: str,
    *,
    input_shape: Shape | None = None,
    n_classes: int | None = None,
    samples: int | None = None,
    held_out: int | None = None,
    within: float | None = None,
    share: float | None = None,
    max_samples: int | None = None,
    sources: Sequence[str] = (),
    seed: int = 0,
    fresh: bool = False,
    predictors: Path = Path("predictors"),
    progress: ProgressReporter | None = None,
) -> tuple[Path, TargetPredictors]:
    """Measure architectures of a space on a target and learn its costs.

    Either a given number is measured, or as many as it takes for a share of the predictions to
    be within a relative error. What was measured before, by an interrupted calibration too, is
    not measured again.

    Args:
        target: Name of a target, or a path to its YAML file.
        space: An experiment file, whose space and data set are taken, or the
            name of a registered space.
        input_shape: ``(C, H, W)``; needed with a space's name.
        n_classes: Needed with a space's name.
        samples: Architectures to fit to; 40 unless ``within`` is given.
        held_out: Random architectures to judge on; 20 unless ``within`` is given.
        within: Relative error of latency that a good prediction has at most, such as 0.1.
        share: Share of good predictions to prove; 0.95 if not given. Needs ``within``.
        max_samples: Architectures measured at most; 300 if not given. Needs ``within``.
        sources: Names of targets that were calibrated on the same space, to start from: 10
            samples do then. Not with ``within``.
        seed: Chooses architectures and weights.
        fresh: Measure again what was measured before.
        predictors: Folder of all predictors.
        progress: Told how far the work is.

    Returns:
        The folder written and the predictors in it.

    Raises:
        UserError: If the input is wrong.
        UnreachableError: If the target cannot be measured.
    """
    description = describe_space(space, input_shape, n_classes)
    known = load_sources(predictors, sources, description)
    how = _method(samples, held_out, within, share, max_samples, known)
    built = description.create()
    with open_target(target) as opened:
        folder = predictor_folder(predictors, opened, built)
        fitted = calibrate_into(
            folder,
            opened,
            description,
            how,
            seed=seed,
            fresh=fresh,
            progress=progress or SilentProgress(),
        )
    return folder, fitted


def _method(
    samples: int | None,
    held_out: int | None,
    within: float | None,
    share: float | None,
    max_samples: int | None,
    sources: Sequence[TargetPredictors],
) -> Callable[[Campaign], TargetPredictors]:
    if within is None:
        if share is not None or max_samples is not None:
            raise UserError("--share and --max-samples go with --within, such as --within 10")
        return partial(
            learn,
            samples=_SAMPLES if samples is None else samples,
            held_out=_HELD_OUT if held_out is None else held_out,
            sources=sources,
        )
    if sources:
        raise UserError("--from goes with --samples, such as --samples 10: leave --within out")
    if samples is not None or held_out is not None:
        raise UserError("--within measures as many as it takes: leave --samples and --held-out out")
    try:
        goal = Goal(within, _SHARE if share is None else share, max_samples or _MAX_SAMPLES)
    except ValueError as error:
        raise UserError(f"--share, --max-samples: {error}") from None
    return partial(calibrate_within, goal=goal)


def describe_space(
    space: str, input_shape: Shape | None, n_classes: int | None
) -> SpaceDescription:
    """Find a space by experiment file, or by name with the shape of its data.

    Raises:
        UserError: If there is none, or a name comes without the shape.
    """
    path = Path(space)
    if path.suffix in (".yaml", ".yml"):
        from hwnas.datasets import load_dataset

        config = load_config(path)
        dataset = load_dataset(config.dataset, path.resolve().parent)
        return SpaceDescription(config.space, dataset.input_shape, len(dataset.class_names))
    if input_shape is None or n_classes is None:
        raise UserError(
            f"--space {space}: a space's name also needs --input CxHxW and --classes N. "
            "Or give an experiment file."
        )
    return SpaceDescription(SpaceConfig(name=space), input_shape, n_classes)
