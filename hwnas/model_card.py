"""The model card of a bundle: every metric with its interval, provenance and boundary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hwnas.bundle_checks import FLOAT32_TOLERANCE, INT8_TOLERANCE
from hwnas.bundle_manifest import BundledNetwork, BundledPoint, BundleManifest
from hwnas.export_formats import FORMATS
from hwnas.format_text import findings

_COLUMNS = ("metric", "value", "interval", "provenance", "boundary", "notes")
# parts of a metric that have no column of their own
_NOTED = {"predicted", "seeds", "split", "selected", "flags", "voltage_v", "bandwidth_hz", "note"}

_MEANING = f"""\
## What the numbers mean

Values are in SI units, by the end of their names: `_s` seconds, `_j` joules, `_w` watts, `_a`
amperes, `_bytes` bytes; accuracies and shares are from 0 to 1. Limits were judged by the
pessimistic end of an interval.

Provenance says how a number was obtained: `measured` on the target; `emulated` on an emulated
one; `vendor_estimate` by a tool of its maker; `predicted` by a model fitted to measurements;
`modelled` from data sheets. Only what is measured can pass a contract. A metric without a
provenance is an exact count. Boundary says what an energy includes: `inference_net` without idle
power, `inference_gross` with it, `system` with all that the meter feeds. An accuracy that is
`selected` chose this network among many, and is therefore optimistic: trust the test split.

## How the bundle was verified

After it was written, a fresh process opened it, ran its samples one by one, and compared: logits
of float32 networks with those of the trained network to {FLOAT32_TOLERANCE:.0e} of the largest
logit, and of quantized ones with those stored at export to {INT8_TOLERANCE:.1e}, in ONNX Runtime
and on the target where there is a library for it; exits and answers of every operating point;
preprocessing of raw samples bit for bit; and what `run_example.py` prints.

Repeat it with `python -m hwnas.bundle_verification BUNDLE`.
"""


def model_card(manifest: BundleManifest) -> str:
    """Return a bundle's model card as Markdown."""
    shape = "x".join(str(size) for size in manifest.input.shape)
    parts = [
        f"# {_text(manifest.run)} on {_text(manifest.target)}\n",
        f"Classifies an input of {shape} ({manifest.input.dtype}) into "
        f"{len(manifest.class_names)} classes: {_text(', '.join(manifest.class_names))}.\n",
        "## Data and licence\n",
        *(f"- **{_text(name)}**: {_text(note)}" for name, note in manifest.notes.items()),
        "",
    ]
    for name, point in manifest.operating_points.items():
        parts += _operating_point(name, point, manifest.networks[point.network])
    parts += _formats(manifest)
    return "\n".join([*parts, _MEANING])


def _operating_point(name: str, point: BundledPoint, network: BundledNetwork) -> Iterator[str]:
    yield f"## Operating point {name}\n"
    yield (
        f"Network {point.network} ({network.training}, {network.precision}), measured on "
        f"{_text(network.target)}"
        + (f" at {_text(point.device_point)}" if point.device_point else "")
        + f". Variant {_text(point.variant_id)}.\n"
    )
    shares = ", ".join(f"{share:.1%}" for share in point.exit_shares)
    if len(network.stages) == 1:
        yield "It has one exit.\n"
    else:
        policy = point.exit_policy
        thresholds = ", ".join(f"{t:.6g}" for t in policy.thresholds)
        yield (
            f"It answers at the first exit whose {policy.measure} reaches its threshold "
            f"({thresholds}); the last always answers. Of the validation samples, {shares} leave "
            "at each exit.\n"
        )
    yield _row(_COLUMNS)
    yield _row(["---"] * len(_COLUMNS))
    for metric, parts in point.metrics.items():
        yield _row(_cells(metric, parts))
    yield ""


def _formats(manifest: BundleManifest) -> Iterator[str]:
    if not manifest.formats:
        return
    yield "## In other formats\n"
    yield (
        "Exit policies were chosen for the ONNX graphs: networks in int8 answer with other "
        "confidences, and so leave at other exits, as is told for each operating point.\n"
    )
    for converted in manifest.formats:
        title = FORMATS[converted.format].title
        if converted.failure is not None:
            yield f"- {title} of {converted.network}: not converted: {_text(converted.failure)}"
            continue
        tools = [f"{tool} {version}" for tool, version in converted.tools.items()]
        settings = [f"{name} {value}" for name, value in converted.settings.items()]
        told = [*findings(converted), converted.verification, *settings, ", ".join(tools)]
        yield (
            f"- {title} {converted.precision} of {converted.network}, "
            f"`formats/{converted.format}/{converted.network}/`: {_text('; '.join(told))}"
        )
    yield ""


def _cells(name: str, metric: Mapping[str, Any]) -> list[str]:
    interval = (
        f"{metric['low']:.4g} to {metric['high']:.4g}" if {"low", "high"} <= {*metric} else ""
    )
    notes = [
        f"{part} {value:.4g}" if isinstance(value, float) else f"{part} {value}"
        for part, value in metric.items()
        if part in _NOTED
    ]
    return [
        # a class may have any name
        _text(name) if set(name) & set("`|\n\r") else f"`{name}`",
        f"{metric['value']:.4g}",
        interval,
        str(metric.get("provenance", "exact")),
        str(metric.get("boundary", "")),
        _text("; ".join(notes)),
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """Return text that can neither break a table nor be read as markup."""
    escaped = "".join(f"\\{c}" if c in "\\`*[]<>|" else c for c in text)
    return " ".join(escaped.split())
