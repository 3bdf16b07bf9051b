"""What is compared when a bundle is verified: its files against the answers stored beside them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle import INPUT
from hwnas.bundle_code import EXAMPLE
from hwnas.bundle_manifest import BundledNetwork, BundleManifest
from hwnas.bundle_samples import BundleSamples, Logits
from hwnas.errors import UserError
from hwnas.preprocessing import preprocess
from hwnas.runtime.staged_network import load_session

FLOAT32_TOLERANCE = 1e-4
"""Float32 sums in another order differ by about 1e-6 of the largest logit per layer."""

INT8_TOLERANCE = 1 / 127
"""Of the largest logit: one step of 8 bits, as processors differ in how they saturate."""

_EXAMPLE_TIMEOUT_S = 300.0
RunStage = Callable[[int, NDArray[np.float32]], Logits]


@dataclass(frozen=True)
class Check:
    """One comparison that was passed.

    Args:
        what: Was compared, such as ``host`` for a target's library.
        subject: Network or operating point; empty for the whole bundle.
        samples: That were compared.
        error: Largest difference found: of logits, as a share of the largest one; 0 where
            equality was asked for.
        tolerance: Allowed.
    """

    what: str
    subject: str
    samples: int
    error: float
    tolerance: float

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)


def all_logits(run: RunStage, n_stages: int, samples: NDArray[np.float32]) -> Logits:
    """Return the logits of every exit, each ``(n, classes)``, sample by sample.

    Args:
        run: Given a stage and its input, returns its outputs.
        n_stages: How many there are.
        samples: Shape ``(n, C, H, W)``.
    """
    exits: list[list[NDArray[np.float32]]] = [[] for _ in range(n_stages)]
    for sample in samples:
        x = sample[None]
        for stage in range(n_stages):
            outputs = run(stage, x)
            exits[stage].append(outputs[0])
            x = outputs[-1]
    return tuple(np.concatenate(parts) for parts in exits)


def onnx_logits(files: Sequence[Path], samples: NDArray[np.float32]) -> Logits:
    """Return what ONNX Runtime computes, one sample at a time, as a device does.

    Raises:
        UserError: If it cannot load a graph.
    """
    sessions = [load_session(file) for file in files]

    def run(stage: int, x: NDArray[np.float32]) -> Logits:
        return tuple(sessions[stage].run(None, {INPUT: x}))

    return all_logits(run, len(sessions), samples)


def check_logits(what: str, name: str, precision: str, got: Logits, wanted: Logits) -> Check:
    """Compare logits of every exit.

    Args:
        what: Computed them.
        name: Of the network.
        precision: Of its arithmetic.
        got: Per exit, of the first samples or of all.
        wanted: Per exit, of all samples.

    Raises:
        UserError: If they differ by more than the precision's tolerance, are of other shapes,
            or not finite.
    """
    tolerance = FLOAT32_TOLERANCE if precision == "float32" else INT8_TOLERANCE
    pairs = [(a, b[: len(a)]) for a, b in zip(got, wanted, strict=True)]
    for exit_, (a, b) in enumerate(pairs):
        if a.shape != b.shape:
            raise UserError(
                f"{name}: exit {exit_}: wanted logits {b.shape}, as stored in the bundle. "
                f"Got {a.shape} on {what}."
            )
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            where = "stored in the bundle" if np.isfinite(a).all() else f"on {what}"
            raise UserError(f"{name}: exit {exit_}: logits {where} are not finite numbers.")
    error = max(_error(a, b) for a, b in pairs)
    if error > tolerance:
        raise UserError(
            f"{name}: outputs on {what} differ from those stored in the bundle by {error:.1e} of "
            f"the largest logit (allowed {tolerance:.0e}). This is a defect of the toolchain; "
            "report it with the ONNX files."
        )
    return Check(what, name, len(got[0]), error, tolerance)


def _error(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Return the largest difference as a share of the largest logit; itself where all are 0."""
    largest = float(np.abs(wanted).max())
    return float(np.abs(got - wanted).max()) / (largest or 1.0)


def check_answers(
    name: str, manifest: BundleManifest, logits: Logits, samples: BundleSamples
) -> Check:
    """Apply an operating point's policy; each sample leaves where it did, with its answer.

    Raises:
        UserError: If one does not.
    """
    classes, exits = manifest.operating_points[name].exit_policy.policy.apply(logits)
    stored = samples.answers[name]
    if not exits.shape == stored.exits.shape == stored.classes.shape:
        raise UserError(f"operating_points.{name}: wanted a stored answer for each sample.")
    differ = (exits != stored.exits) | (classes != stored.classes)
    if differ.any():
        index = int(differ.argmax())
        raise UserError(
            f"operating_points.{name}: sample {index} leaves at exit {exits[index]} as class "
            f"{classes[index]}. Stored: exit {stored.exits[index]}, class {stored.classes[index]}."
        )
    return Check("exits and answers", name, len(classes), 0.0, 0.0)


def check_preprocessing(manifest: BundleManifest, samples: BundleSamples) -> Check:
    """Preprocess the raw samples; they become the stored inputs bit for bit.

    Raises:
        UserError: If one does not.
    """
    for index, raw in enumerate(samples.raw):
        try:
            x = preprocess(manifest.preprocessing, raw)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"preprocessing: sample {index}: {error}") from None
        if x.tobytes() != samples.x[index].tobytes():
            raise UserError(f"preprocessing: sample {index} becomes another input than stored.")
    return Check("preprocessing", "", len(samples.raw), 0.0, 0.0)


def check_example(path: Path, name: str, manifest: BundleManifest, samples: BundleSamples) -> Check:
    """Run the example by itself; it prints the stored answers.

    Its code is executed: see `hwnas.bundle_code.check_code`.

    Raises:
        UserError: If it fails or prints others.
    """
    # isolated: nothing but what is installed, no file written beside it, and no bytecode read
    # there, which need not be that of the source
    options = ["-I", "-B", "-X", "utf8", "-X", f"pycache_prefix={os.devnull}"]
    command = [sys.executable, *options, str(path / EXAMPLE), name]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=_EXAMPLE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{EXAMPLE} {name}: took over {_EXAMPLE_TIMEOUT_S:.0f} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UserError(f"{EXAMPLE} {name}: {last}")
    answers = samples.answers[name]
    wanted = [
        f"{exit_} {manifest.class_names[class_]}"
        for exit_, class_ in zip(answers.exits, answers.classes, strict=True)
    ]
    if done.stdout.splitlines() != wanted:
        raise UserError(f"{EXAMPLE} {name}: prints other answers than those stored.")
    return Check(EXAMPLE, name, len(wanted), 0.0, 0.0)


def stage_paths(path: Path, network: BundledNetwork) -> list[Path]:
    """Return the ONNX files of a network of a bundle."""
    return [path / stage.onnx for stage in network.stages]
