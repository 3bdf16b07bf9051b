"""The command that exports. Heavy imports happen inside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from hwnas.cli_check import SLA_NOT_MET, show_check
from hwnas.cli_output import Json, console, print_json
from hwnas.errors import UserError
from hwnas.units import kibibytes

if TYPE_CHECKING:
    from hwnas.exporting import ExportedBundle

NOT_CONVERTED = 1
"""Exit code where the bundle was written, but not in every format that was asked for."""


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    pick: Annotated[
        Optional[str],  # noqa: UP045 - typer reads it at run time
        typer.Option(
            help="One operating point: knee, best, an arch_id or a variant_id. "
            "By default up to three: high, balanced, low."
        ),
    ] = None,
    sla: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="SLA (YAML): picks the cheapest variant that meets it."),
    ] = None,
    out: Annotated[Optional[Path], typer.Option(help="Where to write.")] = None,  # noqa: UP045
    format_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--format",
            help="Convert the networks, too: litert, vela, coreml or executorch. May be repeated.",
        ),
    ] = None,
    product: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="File whose section product tells what changing networks can save."),
    ] = None,
    quiet_class: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Class that is background: accurate networks then only for others."),
    ] = None,
    accelerator: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="What Vela compiles for; ethos-u55-128 by default."),
    ] = None,
    json_: Json = False,
) -> None:
    """Write variants of a run as a bundle that runs on a device, verified by running it.

    Exit code 1 if no variant meets the SLA, or if a network cannot be converted to a format that
    was asked for.
    """
    if pick is not None and sla is not None:
        raise UserError("--sla: not with --pick; it picks the variant itself")
    from hwnas.config import load_product
    from hwnas.export_formats import format_request

    described = load_product(product) if product else None
    formats = format_request(format_ or [], accelerator)
    document: dict[str, object] = {}
    if sla is not None:
        pick, document = _picked(run, sla, json_)
    from hwnas.exporting import export as run_export

    bundle = run_export(
        run, pick=pick, out=out, formats=formats, product=described, quiet_class=quiet_class
    )
    if json_:
        print_json({**bundle.to_dict(), **document})
    else:
        _show(bundle)
    if any(converted.failure is not None for converted in bundle.formats):
        raise typer.Exit(NOT_CONVERTED)


def _show(bundle: ExportedBundle) -> None:
    from hwnas.format_text import described

    screen = console()
    for name, variant in bundle.points.items():
        screen.print(f"Operating point {name}: {variant.variant_id}", soft_wrap=True)
    screen.print(f"Scaling policy: {bundle.scaling.note}", soft_wrap=True, markup=False)
    for check in bundle.checks:
        differ = f"differ by {check.error:.0e}, allowed {check.tolerance:.0e}"
        agrees = differ if check.tolerance else "equal"
        about = f"{check.subject}, {check.what}" if check.subject else check.what
        screen.print(f"  {about}: {check.samples} samples, {agrees}", soft_wrap=True)
    for converted in bundle.formats:
        screen.print(described(converted, bundle.path), soft_wrap=True, markup=False)
    screen.print(
        f"Bundle: {bundle.path} ({kibibytes(bundle.size_bytes)}, written in "
        f"{bundle.export_s:.1f} s, verified in {bundle.verify_s:.1f} s)",
        soft_wrap=True,
    )


def _picked(run: Path, sla: Path, json_: bool) -> tuple[str, dict[str, object]]:
    """Return the variant that an SLA picks; end here where it does not meet it."""
    from hwnas.checking import check

    result = check(run, sla)
    if result.choice is None:
        raise UserError(f"{run}: is a bundle. Wanted the folder of a finished run.")
    document: dict[str, object] = {"sla": result.to_dict()}
    if not json_:
        show_check(result)
    elif not result.is_met:
        print_json(document)
    if not result.is_met:
        raise typer.Exit(SLA_NOT_MET)
    return result.choice.variant.variant_id, document
