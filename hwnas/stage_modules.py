"""The stages of a network as torch modules of their own, for converters that read these."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from hwnas.errors import UserError
from hwnas.export_formats import NetworkToConvert
from search_spaces.blocks import NetworkStage


class StageModule(nn.Module):
    """A stage that returns what its ONNX graph does: logits and, but for the last, features.

    Args:
        stage: The stage.
        is_last: Whether nobody reads its features.
        example: An input of its shape, ``(1, ...)``.
    """

    def __init__(self, stage: NetworkStage, is_last: bool, example: Tensor) -> None:
        super().__init__()
        self.stage = stage
        self.is_last = is_last
        self.example = example

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map ``(1, C, H, W)`` to logits ``(1, classes)`` and features."""
        logits, features = self.stage(input)
        return cast(Tensor, logits) if self.is_last else (logits, features)


def stage_modules(network: NetworkToConvert) -> list[StageModule]:
    """Return copies of a network's stages, ready for inference in float32.

    Args:
        network: The network, which is left as it is.

    Raises:
        UserError: If it is not a float32 one in the bundle.
    """
    if network.precision != "float32":
        raise UserError(f"the bundle has it in {network.precision}; only float32 is converted")
    deployed = copy.deepcopy(network.network).eval()
    deployed.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    deployed.requires_grad_(False)
    x = torch.zeros(1, *network.input_shape)
    modules = []
    for index, stage in enumerate(deployed.stages):
        staged = cast(NetworkStage, stage)
        modules.append(StageModule(staged, index == len(deployed.stages) - 1, x).eval())
        x = staged(x)[1]
    return modules
