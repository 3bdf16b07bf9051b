"""Calibrate predictors of a target on a search space."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hwnas.calibration_records import calibrate_into
from hwnas.config import SpaceConfig, load_config
from hwnas.errors import UserError
from hwnas.predictor_store import SpaceDescription, predictor_folder
from hwnas.progress import ProgressReporter, SilentProgress
from hwnas.target_checking import open_target
from latency_predictors.calibration import calibrate as learn
from latency_predictors.target_predictors import TargetPredictors
from search_spaces import Shape


def calibrate(
    target: str,
    space: str,
    *,
    input_shape: Shape | None = None,
    n_classes: int | None = None,
    samples: int = 40,
    held_out: int = 20,
    seed: int = 0,
    predictors: Path = Path("predictors"),
    progress: ProgressReporter | None = None,
) -> tuple[Path, TargetPredictors]:
    """Measure architectures of a space on a target and learn its costs.

    Args:
        target: Name of a target, or a path to its YAML file.
        space: An experiment file, whose space and data set are taken, or the
            name of a registered space.
        input_shape: ``(C, H, W)``; needed with a space's name.
        n_classes: Needed with a space's name.
        samples: Architectures to fit to.
        held_out: Random architectures to judge on.
        seed: Chooses architectures and weights.
        predictors: Folder of all predictors.
        progress: Told how far the work is.

    Returns:
        The folder written and the predictors in it.

    Raises:
        UserError: If the input is wrong.
        UnreachableError: If the target cannot be measured.
    """
    description = describe_space(space, input_shape, n_classes)
    built = description.create()
    with open_target(target) as opened:
        folder = predictor_folder(predictors, opened, built)
        fitted = calibrate_into(
            folder,
            opened,
            description,
            partial(learn, samples=samples, held_out=held_out),
            seed=seed,
            progress=progress or SilentProgress(),
        )
    return folder, fitted


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
