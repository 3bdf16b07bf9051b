"""What other formats cost and keep: time to convert, size, int8 against float32.

    HWNAS_DATA=FOLDER python experiments/benchmarks/export_formats.py [CONFIG ...] [--networks N]

Architectures drawn from each experiment's space (by default the quickstart's and spoken digits')
are trained once and converted to every format whose tools are installed. Reported are the median
seconds per network, once the tools are loaded, and the first one, which loads them; the median
size of all stages' files; and, of int8, on the test split: how often the last exit's class is that
of float32, and the mean change of its accuracy, beside those of ONNX Runtime's int8 from the same
weights and calibration samples. 95 % intervals by Student's t over networks.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy import stats

from hwnas.bundle_samples import Logits
from hwnas.config import load_config
from hwnas.datasets import Dataset, load_dataset
from hwnas.errors import UserError
from hwnas.export_formats import DEFAULT_ACCELERATOR, FORMATS, Conversion, NetworkToConvert
from hwnas.quantization import CalibratedStages, calibration_samples
from hwnas.spaces import create_space
from hwnas.stage_running import run_stage_models
from hwnas.training import predict_logits, train
from latency_predictors.coverage import distinct_architectures
from search_spaces.initialize import initialize_weights
from search_spaces.onnx_export import stage_models

EXPERIMENTS = Path(__file__).parents[1]
CALIBRATION_SAMPLES = 256


@dataclass
class Found:
    """What was seen of one format in one precision, network by network."""

    seconds: list[float] = field(default_factory=list)
    kib: list[float] = field(default_factory=list)
    agreement: list[float] = field(default_factory=list)
    change: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    configs = [EXPERIMENTS / "quickstart.yaml", EXPERIMENTS / "spoken_digits.yaml"]
    parser.add_argument("configs", nargs="*", type=Path, default=configs)
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="of the training; the experiment's by default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for path in arguments.configs:
        found = measured(path, arguments.networks, arguments.epochs)
        Console(width=132).print(table(f"{path.stem}, {arguments.networks} networks", found))


def measured(path: Path, n_networks: int, epochs: int | None) -> dict[str, Found]:
    """Train and convert networks of an experiment's space."""
    config = load_config(path)
    dataset = load_dataset(config.dataset, path.parent)
    space = create_space(config.space, dataset.input_shape, len(dataset.class_names))
    training = config.training
    if epochs is not None:
        training = training.model_copy(update={"epochs": epochs})
    calibration = calibration_samples(dataset.train.x, CALIBRATION_SAMPLES)
    found: dict[str, Found] = {}
    for seed, architecture in enumerate(
        distinct_architectures(space, n_networks, np.random.default_rng(0))
    ):
        network = space.build(architecture)
        initialize_weights(network, seed)
        train(network, dataset, training, seed)
        network.eval()
        floats = predict_logits(network, dataset.test.x)
        began = time.perf_counter()
        calibrated = CalibratedStages(stage_models(network, space.input_shape), calibration)
        models = calibrated.quantized()
        of_onnx = found.setdefault("ONNX Runtime int8", Found())
        of_onnx.seconds.append(time.perf_counter() - began)
        of_onnx.kib.append(sum(len(m.SerializeToString()) for m in models) / 1024)
        compare(of_onnx, run_stage_models(models, dataset.test.x), floats, dataset)
        source = NetworkToConvert(network, space.input_shape, "float32", calibration)
        for format_name in FORMATS:
            convert(format_name, source, floats, dataset, found)
    return found


def convert(
    name: str, source: NetworkToConvert, floats: Logits, dataset: Dataset, found: dict[str, Found]
) -> None:
    """Convert a network to a format, if its tools are here."""
    export_format = FORMATS[name]
    if export_format.missing_tools():
        return
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        try:
            made = export_format.convert(source, Path(folder), DEFAULT_ACCELERATOR)
        except UserError as error:
            found.setdefault(export_format.title, Found()).failures.append(str(error))
            return
        seconds = time.perf_counter() - began
        for conversion in made:
            seen = found.setdefault(f"{export_format.title} {conversion.precision}", Found())
            # one call makes all precisions
            seen.seconds.append(seconds)
            seen.kib.append(size_kib(conversion))
            run = export_format.runner()
            if run is not None:
                files = [stage.file for stage in conversion.stages]
                compare(seen, run(files, dataset.test.x), floats, dataset)


def size_kib(conversion: Conversion) -> float:
    """Return the size of all files."""
    paths = [stage.file for stage in conversion.stages]
    files = [f for p in paths for f in ([p] if p.is_file() else p.rglob("*")) if f.is_file()]
    return sum(file.stat().st_size for file in files) / 1024


def compare(seen: Found, logits: Logits, floats: Logits, dataset: Dataset) -> None:
    """Compare the last exit's classes with those of torch."""
    got, wanted, y = logits[-1].argmax(axis=1), floats[-1].argmax(axis=1), dataset.test.y
    seen.agreement.append(float(np.mean(got == wanted)))
    seen.change.append(float(np.mean(got == y) - np.mean(wanted == y)))


def table(title: str, found: dict[str, Found]) -> Table:
    """Return the figures for people."""
    rows = Table(title=title)
    for column in ("format", "first s", "s", "KiB", "class as torch", "accuracy", "failed"):
        rows.add_column(column, justify="left" if column == "format" else "right")
    for name, seen in found.items():
        cells = ["", "", ""]
        if seen.seconds:
            later = seen.seconds[1:] or seen.seconds
            figures = [
                (seen.seconds[0], ".2f"),
                (np.median(later), ".2f"),
                (np.median(seen.kib), ".0f"),
            ]
            cells = [format(value, spec) for value, spec in figures]
        cells += [mean(seen.agreement, "%"), mean(seen.change, "points")]
        rows.add_row(name, *cells, str(len(seen.failures)))
    return rows


def mean(values: list[float], unit: str) -> str:
    """Return a mean with its interval, in hundredths."""
    if not values:
        return ""
    x = 100 * np.array(values)
    if len(x) == 1 or np.ptp(x) == 0:
        return f"{x.mean():.2f} {unit}"
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return f"{x.mean():.2f} +- {half:.2f} {unit}"


if __name__ == "__main__":
    main()
