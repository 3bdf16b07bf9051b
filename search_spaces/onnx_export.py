"""Export each stage of a network as a static ONNX graph."""

from __future__ import annotations

import copy
import io
import warnings
from typing import cast

import onnx
import torch
from torch import Tensor, nn

from search_spaces._types import Shape
from search_spaces.blocks import NetworkStage, StagedNetwork

OPSET = 17
INPUT, LOGITS, FEATURES = "input", "logits", "features"


class _LogitsOnly(nn.Module):
    """The last stage: nobody reads its features."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.stage(x)[0]
        return logits


def stage_models(network: nn.Module, input_shape: Shape) -> tuple[onnx.ModelProto, ...]:
    """Export one graph per stage: batch 1, float32, batch normalization folded.

    Each reads ``input`` and writes ``logits``; all but the last also write
    ``features``, the next stage's input. The network itself is left as it is;
    equal weights give equal bytes.

    Args:
        network: A `StagedNetwork`.
        input_shape: ``(C, H, W)``.

    Raises:
        TypeError: If ``network`` has no stages.
    """
    if not isinstance(network, StagedNetwork):
        raise TypeError(f"network must be a StagedNetwork. Got {type(network).__name__}.")
    deployed = copy.deepcopy(network).eval()
    deployed.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    x = torch.zeros(1, *input_shape)
    models = []
    last = len(deployed.stages) - 1
    with torch.no_grad():
        for index, stage in enumerate(deployed.stages):
            models.append(_export(_LogitsOnly(stage) if index == last else stage, x, index == last))
            if index != last:
                x = cast(NetworkStage, stage)(x)[1]
    return tuple(models)


def _export(module: nn.Module, x: Tensor, is_last: bool) -> onnx.ModelProto:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # the exporter that replaces this one needs another package and 20 times as long
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module.eval(),
            (x,),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[LOGITS] if is_last else [LOGITS, FEATURES],
        )
    model = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(model)
    return model
