"""The torch modules that networks are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn

from search_spaces._types import Shape
from search_spaces.graph_builder import squeeze_channels
from search_spaces.layout import axis_sizes, conv_output_shape

_ACTIVATIONS = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hard_swish": nn.Hardswish}


class ConvBnAct(nn.Sequential):
    """Convolution without bias, batch normalization, and an activation or none.

    Args:
        shape: ``(C, H, W)`` of the input.
        channels: Output channels.
        kernel: Odd kernel size; 1 on an axis of length 1.
        stride: Stride; 1 on an axis of length 1.
        activation: ``none``, ``relu``, ``relu6`` or ``hard_swish``.
        depthwise: One filter per input channel.
    """

    def __init__(
        self,
        shape: Shape,
        channels: int,
        kernel: int,
        stride: int,
        activation: str,
        *,
        depthwise: bool = False,
    ) -> None:
        size = axis_sizes(shape, kernel)
        layers: list[nn.Module] = [
            nn.Conv2d(
                shape[0],
                channels,
                size,
                axis_sizes(shape, stride),
                (size[0] // 2, size[1] // 2),
                groups=shape[0] if depthwise else 1,
                bias=False,
            ),
            nn.BatchNorm2d(channels),
        ]
        if activation != "none":
            layers.append(_ACTIVATIONS[activation](inplace=True))
        super().__init__(*layers)


class SqueezeExcitation(nn.Module):
    """Scales channels by a gate computed from their means.

    References:
        Hu et al. (2018), Squeeze-and-Excitation Networks, Sec. 3.
        doi:10.1109/CVPR.2018.00745. The hard sigmoid is that of Howard et al.
        (2019), MobileNetV3, Sec. 5.2. doi:10.1109/ICCV.2019.00140
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = squeeze_channels(channels)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.relu = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape."""
        gate: Tensor = self.gate(self.expand(self.relu(self.reduce(self.pool(x)))))
        return x * gate


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, project; expansion 1 makes it depthwise-separable.

    The input is added where stride is 1 and the channels stay the same.

    References:
        Sandler et al. (2018), MobileNetV2, Sec. 3.3. doi:10.1109/CVPR.2018.00474
    """

    def __init__(
        self,
        shape: Shape,
        channels: int,
        kernel: int,
        stride: int,
        expansion: int,
        se: bool,
        activation: str,
    ) -> None:
        super().__init__()
        hidden = (shape[0] * expansion, *shape[1:])
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(ConvBnAct(shape, hidden[0], 1, 1, activation))
        layers.append(ConvBnAct(hidden, hidden[0], kernel, stride, activation, depthwise=True))
        if se:
            layers.append(SqueezeExcitation(hidden[0]))
        filtered = conv_output_shape(hidden, hidden[0], stride)
        layers.append(ConvBnAct(filtered, channels, 1, 1, "none"))
        self.layers = nn.Sequential(*layers)
        self.has_residual = conv_output_shape(shape, channels, stride) == tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, channels, H', W')``."""
        y: Tensor = self.layers(x)
        return x + y if self.has_residual else y


class Classifier(nn.Sequential):
    """Global average pooling and a linear layer: ``(N, C, H, W)`` to ``(N, classes)``."""

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, n_classes))


class NetworkStage(nn.Module):
    """One deployable part: a trunk, and the head that classifies what it computes."""

    def __init__(self, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(N, classes)`` and features ``(N, C, H, W)``."""
        features = self.trunk(x)
        return self.head(features), features


class StagedNetwork(nn.Module):
    """Stages in a row; each but the last is an early exit.

    References:
        Teerapittayanon et al. (2016), BranchyNet, Sec. II.
        doi:10.1109/ICPR.2016.7900006
    """

    def __init__(self, stages: Iterable[NetworkStage]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of every exit, each ``(N, classes)``, the final one last."""
        exits = []
        for stage in self.stages:
            logits, x = stage(x)
            exits.append(logits)
        return tuple(exits)


def without_exits(network: StagedNetwork) -> StagedNetwork:
    """Return a network of one stage that computes what the final exit does, sharing weights."""
    trunks = [stage.trunk for stage in _stages(network)]
    *_, last = _stages(network)
    return StagedNetwork([NetworkStage(nn.Sequential(*trunks), last.head)])


def _stages(network: StagedNetwork) -> list[NetworkStage]:
    return [cast(NetworkStage, stage) for stage in network.stages]
