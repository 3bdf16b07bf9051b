"""Convert networks to ExecuTorch programs for processors (XNNPACK), and run them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle_checks import all_logits
from hwnas.bundle_samples import Logits
from hwnas.export_formats import Accelerator, Conversion, NetworkToConvert, StageConversion
from hwnas.foreign_tools import quiet_tool

_SETTINGS = {"backend": "XNNPACK"}
_VERIFICATION = "run by ExecuTorch's runtime on this computer"
_METHOD = "forward"


def convert(network: NetworkToConvert, folder: Path, accelerator: Accelerator) -> list[Conversion]:
    """Write ``stage_K.pte`` in float32: method ``forward``, batch 1, channels first.

    Raises:
        UserError: If the network is not a float32 one in the bundle, or cannot be converted.
    """
    from hwnas.stage_modules import stage_modules

    stages = []
    for index, module in enumerate(stage_modules(network)):
        file = folder / f"stage_{index}.pte"
        with quiet_tool("executorch"):
            import torch
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
                XnnpackPartitioner,
            )
            from executorch.exir import to_edge_transform_and_lower

            program = torch.export.export(module, (module.example,))
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            file.write_bytes(lowered.to_executorch().buffer)
        stages.append(StageConversion(file))
    return [Conversion("float32", tuple(stages), _SETTINGS, _VERIFICATION)]


def run(files: Sequence[Path], samples: NDArray[np.float32]) -> Logits:
    """Return the logits of every exit, sample by sample.

    Args:
        files: Of the stages.
        samples: Shape ``(n, C, H, W)``.
    """
    import torch

    with quiet_tool("executorch"):
        from executorch.runtime import Runtime

        runtime = Runtime.get()
        programs = [runtime.load_program(file) for file in files]
        methods = [program.load_method(_METHOD) for program in programs]

        def run_stage(stage: int, x: NDArray[np.float32]) -> Logits:
            outputs = methods[stage].execute([torch.from_numpy(x)])
            # they lie in memory that the next call writes
            return tuple(output.numpy().copy() for output in outputs)

        return all_logits(run_stage, len(files), samples)
