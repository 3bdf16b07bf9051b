"""Export variants of a run as one bundle, which a fresh process verifies."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwnas.bundle_checks import Check
from hwnas.bundle_manifest import ConvertedNetwork
from hwnas.bundle_samples import BundleSamples
from hwnas.bundle_verification import verify_in_fresh_process
from hwnas.bundle_writing import BundleWriter
from hwnas.errors import UserError
from hwnas.exit_policy import ExitPolicy
from hwnas.exit_shares import check_exit_shares
from hwnas.export_formats import FormatRequest
from hwnas.finished_run import FinishedRun, by_network, network_names
from hwnas.format_writing import FormatWriter
from hwnas.measuring import failure_error, read_onnx
from hwnas.policy_choice import PolicyChoice, choose_policy
from hwnas.product_config import ProductConfig
from hwnas.target_checking import open_target
from hwnas.variant_picking import pick_points
from hwnas.variants import NetworkForm, Variant
from targets import Failure, Target

# its libraries are files; other toolchains keep what they make
_LIBRARY_BACKEND = "tvm"


@dataclass(frozen=True)
class ExportedBundle:
    """A written and verified bundle.

    Args:
        path: Its folder.
        points: Its operating points by name.
        scaling: When it changes between them.
        checks: What a fresh process compared.
        formats: Its networks in other formats, and what could not be converted.
        size_bytes: Of all its files.
        export_s: Seconds it took to write, with compiling.
        verify_s: Seconds it took to verify.
    """

    path: Path
    points: Mapping[str, Variant]
    scaling: PolicyChoice
    checks: tuple[Check, ...]
    formats: tuple[ConvertedNetwork, ...]
    size_bytes: int
    export_s: float
    verify_s: float

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "path": str(self.path),
            "operating_points": {
                name: {"variant_id": v.variant_id, "arch_id": v.form.arch_id}
                for name, v in self.points.items()
            },
            "scaling_policy": self.scaling.note,
            "checks": [check.to_dict() for check in self.checks],
            "formats": [converted.model_dump(mode="json") for converted in self.formats],
            "size_bytes": self.size_bytes,
            "export_s": self.export_s,
            "verify_s": self.verify_s,
        }


def export(
    run: Path,
    *,
    pick: str | None = None,
    out: Path | None = None,
    formats: FormatRequest = FormatRequest(),  # noqa: B008 - it is frozen
    product: ProductConfig | None = None,
    quiet_class: str | None = None,
) -> ExportedBundle:
    """Write variants of a finished run as a bundle; see `hwnas.bundle_manifest`.

    A fresh process verifies it before it gets its final name, so that a bundle that exists
    works.

    Args:
        run: Folder of a finished search.
        pick: What its only operating point is, see `hwnas.variant_picking.pick_points`; without
            it, the bundle gets up to three.
        out: Where to; in the run's folder ``export`` by default.
        formats: What its networks are to be converted to, beside ONNX.
        product: What surrounds the network; by default what the experiment says.
        quiet_class: Answers of this class are background, see `choose_policy`.

    Raises:
        UserError: If the run, the pick, the class or the folder is wrong, or the bundle does
            not do what the trained networks do.
        UnreachableError: If a target does not answer.
    """
    finished = FinishedRun.open(run)
    config, classes = finished.config, finished.dataset.class_names
    points = pick_points(finished.variants, finished.front, config, pick)
    scaling = choose_policy(points, product or config.product, quiet_class, classes)
    name = "operating-points" if pick is None else next(iter(points.values())).variant_id
    path = out or run / "export" / name
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path}: is not empty. Choose another folder with --out, or remove it.")
    try:
        return _Exporter(finished, formats, scaling).export(points, path)
    except OSError as error:
        raise UserError(f"{path}: cannot write the bundle ({error.strerror})") from None


class _Exporter:
    """Writes variants of a run."""

    def __init__(self, run: FinishedRun, formats: FormatRequest, scaling: PolicyChoice) -> None:
        self._run = run
        self._formats = formats
        self._scaling = scaling

    def export(self, points: Mapping[str, Variant], path: Path) -> ExportedBundle:
        """Write and verify a bundle, then give it its name."""
        began = time.perf_counter()
        networks = network_names(points)
        samples = self._run.samples(points, networks)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as temporary:
            unfinished = Path(temporary) / "bundle"
            unfinished.mkdir()
            formats = FormatWriter(
                unfinished,
                self._formats,
                self._run.dataset,
                self._run.config.deployment.calibration_samples,
                samples.x,
            )
            references = self._write(points, networks, samples, formats, unfinished)
            written = time.perf_counter()
            checks = verify_in_fresh_process(unfinished, references)
            verified = time.perf_counter()
            size_bytes = sum(f.stat().st_size for f in unfinished.rglob("*") if f.is_file())
            if path.exists():
                path.rmdir()
            shutil.move(unfinished, path)
        return ExportedBundle(
            path,
            points,
            self._scaling,
            tuple(checks),
            tuple(formats.converted),
            size_bytes,
            written - began,
            verified - written,
        )

    def _write(
        self,
        points: Mapping[str, Variant],
        networks: Mapping[str, str],
        samples: BundleSamples,
        formats: FormatWriter,
        folder: Path,
    ) -> list[str]:
        """Write a bundle; return names or files of the targets that measured its networks."""
        writer = BundleWriter(folder)
        with ExitStack() as stack:
            own = stack.enter_context(open_target(self._run.config.target))
            references, targets = {own.name: self._run.config.target}, {own.name: own}
            for name, variant in by_network(points, networks).items():
                if variant.target not in targets:
                    opened = stack.enter_context(_quantized_target(own, variant))
                    targets[opened.name] = opened
                    references[opened.name] = str(own.spec.quantized_target)
                models = self._run.models(variant)
                libraries = _libraries(models, targets[variant.target])
                writer.add_network(name, variant.form, variant.target, models, libraries)
        for name, variant in by_network(points, networks).items():
            policies = {p: v.policy for p, v in points.items() if networks[p] == name}
            self._convert(name, variant.form, writer.model_files(name), policies, formats)
        samples = replace(samples, logits={**samples.logits, **formats.logits})
        for point, variant in points.items():
            models = writer.model_files(networks[point])
            check_exit_shares(point, variant, models, self._run.dataset.validation.x)
        named = {point: (networks[point], variant) for point, variant in points.items()}
        notes = {**self._run.notes(), "scaling policy": self._scaling.note}
        writer.finish(
            self._run.config.name,
            own.name,
            self._run.dataset,
            named,
            samples,
            notes,
            self._scaling.policy,
            formats.converted,
        )
        return [references[name] for name in {v.target for v in points.values()}]

    def _convert(
        self,
        name: str,
        form: NetworkForm,
        models: Sequence[Path],
        policies: Mapping[str, ExitPolicy],
        formats: FormatWriter,
    ) -> None:
        """Add a network in other formats, where that was asked for."""
        if form.training == "quantization_aware":
            formats.refuse(name, "it was trained on for int8; only its ONNX graphs were kept")
        elif self._formats.names:
            formats.add(name, self._run.network(form), form.precision, models, policies)


def _quantized_target(own: Target, variant: Variant) -> Target:
    """Open the target that measured a variant where the search's own one did not.

    Raises:
        UserError: If the search's target names another one now, or none.
    """
    reference = own.spec.quantized_target
    opened = None if reference is None else open_target(reference)
    if opened is None or opened.name != variant.target:
        raise UserError(
            f"{variant.variant_id}: was measured on {variant.target!r}, and target {own.name!r} "
            f"names {reference!r} as its quantized_target. Restore that key, or search again."
        )
    return opened


def _libraries(models: Sequence[Path], target: Target) -> list[Path] | None:
    """Compile the stages of a network, where the target's toolchain makes libraries."""
    if target.spec.backend != _LIBRARY_BACKEND:
        return None
    libraries = []
    for model in models:
        artifact = target.compile(read_onnx(model))
        if isinstance(artifact, Failure):
            raise failure_error(artifact, model.name)
        libraries.append(artifact.path)
    return libraries
