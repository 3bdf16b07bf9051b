"""Verify a bundle: ``python -m hwnas.bundle_verification BUNDLE [TARGET ...]``.

A fresh process does it after an export, which knows nothing but the files.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle import open_bundle
from hwnas.bundle_checks import (
    Check,
    all_logits,
    check_answers,
    check_example,
    check_logits,
    check_preprocessing,
    onnx_logits,
    stage_paths,
)
from hwnas.bundle_code import check_code
from hwnas.bundle_manifest import BundledNetwork, BundleManifest
from hwnas.bundle_samples import BundleSamples, Logits
from hwnas.errors import UnreachableError, UserError
from hwnas.format_checks import check_formats, stored_answers
from hwnas.measuring import failure_error, read_onnx
from hwnas.target_checking import open_target
from targets import Artifact, Failure, Target

_ON_TARGET = 8
"""Samples run on a target: each is a session of its own there."""


def verify(path: Path, targets: Sequence[str] = ()) -> list[Check]:
    """Open a bundle and compare everything in it that computes with what is stored.

    Networks run sample by sample, in ONNX Runtime and, where they are compiled, on their
    target; in other formats where their tools are installed; exit policies, preprocessing and
    the example run, too. Of Python code only what this version of hwnas would write is run.

    Args:
        path: Folder of the bundle.
        targets: Names or files of the targets that libraries were compiled for; libraries of
            others are not run. A library is native code: name none for a bundle of strangers.

    Returns:
        What was compared; all of it agreed.

    Raises:
        UserError: For the first thing that is wrong.
        UnreachableError: If a target does not answer.
    """
    manifest = open_bundle(path)
    exits = {name: len(network.stages) for name, network in manifest.networks.items()}
    exits |= stored_answers(manifest)
    samples = BundleSamples.load(path / manifest.samples, exits, manifest.operating_points)
    _check_inputs(manifest, samples)
    checks = [check_preprocessing(manifest, samples)] if samples.raw else []
    computed: dict[str, Logits] = {}
    for name, network in manifest.networks.items():
        computed[name] = onnx_logits(stage_paths(path, network), samples.x)
        stored = samples.logits[name]
        checks.append(check_logits("ONNX Runtime", name, network.precision, computed[name], stored))
    checks += _check_targets(path, manifest, samples, targets)
    checks += check_formats(path, manifest, samples)
    for name, point in manifest.operating_points.items():
        checks.append(check_answers(name, manifest, computed[point.network], samples))
    check_code(path)
    names = manifest.operating_points
    return [*checks, *(check_example(path, name, manifest, samples) for name in names)]


def _check_inputs(manifest: BundleManifest, samples: BundleSamples) -> None:
    wanted, x = manifest.input, samples.x
    if not len(x) or x.shape[1:] != wanted.shape[1:] or x.dtype != wanted.dtype:
        raise UserError(
            f"{manifest.samples}: x: wanted {wanted.dtype} of shape (n, *{wanted.shape[1:]}). "
            f"Got {x.dtype} of {x.shape}."
        )


def verify_in_fresh_process(path: Path, targets: Sequence[str]) -> list[Check]:
    """`verify` in a process of its own.

    Raises:
        UserError, UnreachableError: As `verify`.
    """
    command = [sys.executable, "-m", "hwnas.bundle_verification", str(path), *targets]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for error in (UserError, UnreachableError):
        if done.returncode == error.exit_code:
            raise error(done.stderr.strip().splitlines()[-1])
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return [Check(**check) for check in json.loads(done.stdout)]


def _check_targets(
    path: Path, manifest: BundleManifest, samples: BundleSamples, references: Sequence[str]
) -> list[Check]:
    compiled = {
        name: network
        for name, network in manifest.networks.items()
        if all(stage.library is not None for stage in network.stages)
    }
    if not compiled:
        return []
    checks = []
    with ExitStack() as stack:
        opened = [stack.enter_context(open_target(reference)) for reference in references]
        targets = {target.name: target for target in opened}
        for name, network in compiled.items():
            if network.target in targets:
                target = targets[network.target]
                run = _library_runner(path, manifest, network, target)
                got = all_logits(run, len(network.stages), samples.x[:_ON_TARGET])
                wanted = samples.logits[name]
                checks.append(check_logits(target.name, name, network.precision, got, wanted))
    return checks


def _library_runner(
    path: Path, manifest: BundleManifest, network: BundledNetwork, target: Target
) -> Callable[[int, NDArray[np.float32]], Logits]:
    """Return what runs a stage's library, the very file in the bundle, on its target."""
    artifacts: list[Artifact] = []
    for stage in network.stages:
        artifact = target.compile(read_onnx(path / stage.onnx))
        if isinstance(artifact, Failure):
            raise failure_error(artifact, stage.onnx)
        library = str(stage.library)
        digest = manifest.files[library].sha256
        artifacts.append(replace(artifact, path=path / library, sha256=digest))

    def run(stage: int, x: NDArray[np.float32]) -> Logits:
        outputs = target.run(artifacts[stage], [x])
        if isinstance(outputs, Failure):
            raise failure_error(outputs, network.stages[stage].onnx)
        return outputs

    return run


def main(arguments: Sequence[str]) -> int:
    """Print the checks as JSON, or the first failure in one line; return the exit code."""
    if not arguments:
        sys.stderr.write("wanted a bundle: python -m hwnas.bundle_verification BUNDLE\n")
        return UserError.exit_code
    try:
        checks = verify(Path(arguments[0]), arguments[1:])
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    json.dump([check.to_dict() for check in checks], sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
