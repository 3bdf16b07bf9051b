"""Check a bundle's networks in other formats, where their tools are installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hwnas.bundle_checks import Check, check_logits
from hwnas.bundle_manifest import BundleManifest
from hwnas.bundle_samples import BundleSamples
from hwnas.export_formats import FORMATS


def stored_answers(manifest: BundleManifest) -> Mapping[str, int]:
    """Return how many exits have their own answers in the samples, by `ConvertedNetwork.name`."""
    return {
        converted.name: len(converted.stages)
        for converted in manifest.formats
        if converted.has_own_answers
    }


def check_formats(path: Path, manifest: BundleManifest, samples: BundleSamples) -> list[Check]:
    """Run what can be run here, and compare it with what is stored.

    Float32 networks answer as the trained network does; int8 ones as they did at export.

    Raises:
        UserError: If one does not.
    """
    checks = []
    for converted in manifest.formats:
        run = FORMATS[converted.format].runner()
        if run is None or converted.precision is None:
            continue
        got = run([path / stage.file for stage in converted.stages], samples.x)
        stored = converted.name if converted.has_own_answers else converted.network
        what = f"{FORMATS[converted.format].title} {converted.precision}"
        wanted = samples.logits[stored]
        checks.append(check_logits(what, converted.network, converted.precision, got, wanted))
    return checks
