"""The command line. Heavy imports happen inside the commands."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn, Optional

import typer
from rich.console import Console

from hwnas.cli_check import check
from hwnas.cli_export import export
from hwnas.cli_output import Json, Predictors, console, console_progress, print_json
from hwnas.cli_runtime import simulate, trace
from hwnas.cli_search import search, serve_storage, worker
from hwnas.cli_targets import targets_app
from hwnas.errors import UserError, is_disk_full

_INTERRUPTED = 130

app = typer.Typer(
    help="Hardware-aware neural architecture search, calibrated on your own board.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (search, worker, serve_storage, export, check, simulate, trace):
    app.command()(command)
app.add_typer(targets_app, name="targets")


class SweepAxis(StrEnum):
    """What ``measure --sweep`` varies."""

    FREQUENCY = "frequency"


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2 or 3."""
    # many small matrices: more threads than one per process only get in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        app()
    except UserError as error:
        _fail(str(error), error.exit_code)
    except SystemExit as end:
        # what Typer makes of Ctrl-C
        if end.code == _INTERRUPTED:
            _fail(f"interrupted; {_go_on()}", _INTERRUPTED)
        raise
    except OSError as error:
        # a failed copy names its source first
        where = error.filename2 or error.filename
        if is_disk_full(error):
            _fail(
                f"{where or 'disk'}: no space left ({error.strerror}). Free some and "
                "try again; a search that has trained continues with --resume",
                2,
            )
        if where is None:
            raise
        _fail(f"{where}: {error.strerror}", 2)


def _go_on() -> str:
    if "calibrate" in sys.argv[1:2]:
        return "the same command goes on, without --fresh"
    return "continue a search with --resume"


@app.command()
def calibrate(
    target: Annotated[str, typer.Argument(help="Target, or a path to its YAML file.")],
    space: Annotated[str, typer.Option(help="Experiment file, or name of a search space.")],
    samples: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=8, help="Architectures to fit to; 40 by default."),
    ] = None,
    held_out: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, help="Architectures to judge on; 20 by default."),
    ] = None,
    within: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0.1, max=100, help="Per cent: measure until predictions are so near."),
    ] = None,
    share: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0.01, max=0.999, help="Of the predictions; 0.95 by default."),
    ] = None,
    max_samples: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Measured at most, with --within; 300 by default."),
    ] = None,
    from_: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--from", help="TARGET,TARGET: calibrated ones to start from."),
    ] = None,
    input_: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--input", help="CxHxW, such as 3x32x32, with a space's name."),
    ] = None,
    classes: Annotated[Optional[int], typer.Option(help="With a space's name.")] = None,  # noqa: UP045
    seed: Annotated[int, typer.Option(min=0)] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again what was measured before.")
    ] = False,
    predictors: Predictors = Path("predictors"),
    json_: Json = False,
) -> None:
    """Measure architectures on a target and learn to predict latency, energy, flash and RAM."""
    from hwnas.calibrating import calibrate as run_calibrate
    from hwnas.calibration_text import calibration_notes
    from hwnas.cli_output import yaml_text
    from hwnas.tables import calibration_table

    with console_progress() as progress:
        folder, fitted = run_calibrate(
            target,
            space,
            input_shape=_parse_shape(input_) if input_ else None,
            n_classes=classes,
            samples=samples,
            held_out=held_out,
            within=None if within is None else within / 100,
            share=share,
            max_samples=max_samples,
            sources=[] if from_ is None else from_.split(","),
            seed=seed,
            fresh=fresh,
            predictors=predictors,
            progress=progress,
        )
    if json_:
        print_json({"predictor": str(folder), **fitted.report})
        return
    screen = console()
    screen.print(calibration_table(fitted.report))
    for note in calibration_notes(fitted.report):
        screen.print(note, soft_wrap=True, markup=False, highlight=False)
    if model := fitted.report.get("energy_model"):
        screen.print("For the files of boards of this type that have no meter:")
        screen.print(yaml_text({"energy_model": model}), soft_wrap=True, markup=False)
    screen.print(f"Predictors: {folder}", soft_wrap=True)


@app.command()
def tune(
    target: Annotated[str, typer.Argument(help="Target, or a path to its YAML file.")],
    models: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(help="ONNX models with static shapes."),
    ] = None,
    space: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Experiment file, or name of a search space: tune random members."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Architectures of the space.")] = 10,
    seconds: Annotated[float, typer.Option(min=1, help="For each model.")] = 60.0,
    input_: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--input", help="CxHxW, such as 3x32x32, with a space's name."),
    ] = None,
    classes: Annotated[Optional[int], typer.Option(help="With a space's name.")] = None,  # noqa: UP045
    seed: Annotated[int, typer.Option(min=0)] = 0,
    json_: Json = False,
) -> None:
    """Look for faster code for a target's kernels, and keep it for all later models."""
    from hwnas.tables import tuning_table
    from hwnas.tuning import tune as run_tune

    with console_progress() as progress:
        results = run_tune(
            target,
            models or (),
            space=space,
            input_shape=_parse_shape(input_) if input_ else None,
            n_classes=classes,
            samples=samples,
            seconds=seconds,
            seed=seed,
            progress=progress,
        )
    if json_:
        print_json([result.to_dict() for result in results])
    else:
        console().print(tuning_table(results))


@app.command()
def predict(
    target: Annotated[str, typer.Argument(help="Calibrated target.")],
    arch: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Architecture as JSON, or a path to it."),
    ] = None,
    onnx: Annotated[Optional[Path], typer.Option(help="ONNX model.")] = None,  # noqa: UP045
    predictors: Predictors = Path("predictors"),
    json_: Json = False,
) -> None:
    """Predict latency, flash, RAM and energy without measuring."""
    from hwnas.predicting import predict as run_predict
    from hwnas.tables import prediction_table

    result = run_predict(target, arch=arch, onnx=onnx, predictors=predictors).to_dict()
    if json_:
        print_json(result)
    else:
        console().print(prediction_table(result))


@app.command()
def measure(
    target: Annotated[str, typer.Argument(help="Target, or a path to its YAML file.")],
    model: Annotated[Path, typer.Argument(help="ONNX model with static shapes.")],
    product: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Experiment file whose section product gives battery days and more."),
    ] = None,
    sweep: Annotated[
        Optional[SweepAxis],  # noqa: UP045
        typer.Option(help="Measure at every operating point of the target."),
    ] = None,
    json_: Json = False,
) -> None:
    """Measure latency, energy, flash and RAM of any ONNX model on a target."""
    if sweep is not None:
        if product is not None:
            raise UserError("--product: not with --sweep; measure one operating point with it")
        _sweep(target, model, json_)
        return
    from hwnas.config import load_product
    from hwnas.measuring import measure as run_measure
    from hwnas.tables import measurement_table

    described = load_product(product) if product else None
    with console_progress() as progress:
        result = run_measure(target, model, product=described, progress=progress).to_dict()
    if json_:
        print_json(result)
    else:
        console().print(measurement_table(result))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")], json_: Json = False
) -> None:
    """Write one self-contained HTML page about a run."""
    from hwnas.reporting import report as run_report

    page = run_report(run)
    if json_:
        print_json({"path": str(page)})
    else:
        console().print(f"Report: {page}", soft_wrap=True)


@app.command()
def doctor(json_: Json = False) -> None:
    """Say what works on this computer and how to fix what does not."""
    from dataclasses import asdict

    from hwnas.diagnosis import doctor as run_doctor
    from hwnas.tables import findings_table

    findings = run_doctor()
    if json_:
        print_json([asdict(finding) for finding in findings])
    else:
        console().print(findings_table(findings))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(3)


def _sweep(target: str, model: Path, json_: bool) -> None:
    from hwnas.sweep_table import sweep_table
    from hwnas.sweeping import sweep_frequency

    with console_progress() as progress:
        result = sweep_frequency(target, model, progress=progress).to_dict()
    if json_:
        print_json(result)
    else:
        console().print(sweep_table(result))


def _parse_shape(text: str) -> tuple[int, ...]:
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UserError(f"--input {text}: wanted CxHxW, such as 3x32x32")
    return tuple(int(part) for part in parts)


def _fail(message: str, code: int) -> NoReturn:
    Console(stderr=True).print(message, style="red", highlight=False, soft_wrap=True, markup=False)
    raise SystemExit(code)
