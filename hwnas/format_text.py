"""Networks in other formats, in a line each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hwnas.bundle_manifest import ConvertedNetwork
from hwnas.export_formats import FORMATS
from hwnas.units import engineering, kibibytes, percent


def described(converted: ConvertedNetwork, bundle: Path) -> str:
    """Return what became of a network in another format.

    Args:
        converted: The network.
        bundle: Folder that its files are in.
    """
    title = FORMATS[converted.format].title
    if converted.failure is not None:
        return f"{title} of {converted.network}: not converted: {converted.failure}"
    files = [bundle / stage.file for stage in converted.stages]
    stages = "1 stage" if len(files) == 1 else f"{len(files)} stages"
    size = kibibytes(sum(map(_size_bytes, files)))
    about = "; ".join([f"{stages}, {size}", *findings(converted), converted.verification])
    return f"{title} {converted.precision} of {converted.network}: {about}"


def findings(converted: ConvertedNetwork) -> Iterator[str]:
    """Yield what is known of a converted network, a value for each stage, for people."""
    for name, (text, printed) in _METRICS.items():
        values = [stage.metrics[name] for stage in converted.stages if name in stage.metrics]
        # an NPU has either DRAM or flash beside it
        if any(value["value"] for value in values):
            listed = ", ".join(printed(value["value"]) for value in values)
            kind = values[0].get("provenance") or values[0].get("split")
            yield f"{text} {listed}" + (f" ({kind})" if kind else "")
    for point, answers in converted.operating_points.items():
        accuracy = percent(answers.metrics["accuracy"]["value"])
        shares = ", ".join(map(percent, answers.exit_shares))
        yield f"{point}: accuracy {accuracy}, {shares} leaving at each exit"
    for subject in dict.fromkeys(s for stage in converted.stages for s in stage.notes):
        told = [stage.notes[subject] for stage in converted.stages if subject in stage.notes]
        yield f"{subject}: {'; '.join(dict.fromkeys(told))}"


def _size_bytes(path: Path) -> int:
    """Return the size of a file, or of all those in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _seconds(value: float) -> str:
    return engineering(value, "s")


def _count(value: float) -> str:
    return f"{value:.0f}"


_METRICS = {
    "class_agreement": ("class as by ONNX for", percent),
    "accuracy": ("accuracy", percent),
    "latency_s": ("latency", _seconds),
    "cycles": ("cycles", _count),
    "sram_bytes": ("SRAM", kibibytes),
    "dram_bytes": ("DRAM", kibibytes),
    "flash_bytes": ("flash", kibibytes),
}
