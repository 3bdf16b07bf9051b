"""Reference networks of the field as ONNX, with random weights and live activations.

Exact variants, so that their multiply-accumulates and parameters can be checked against
the published ones (``tests/unit/experiments``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import onnx
import torch
from torch import Tensor, nn

from search_spaces.blocks import NetworkStage, StagedNetwork
from search_spaces.initialize import initialize_weights, live_batch_norm
from search_spaces.onnx_export import stage_models

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Network:
    """A network to benchmark: how to build it, and ``(C, H, W)`` of its input."""

    build: Callable[[], nn.Module]
    input_shape: Shape


def to_onnx(network: Network, seed: int = 0) -> onnx.ModelProto:
    """Return a network with seeded weights: float32, batch 1, batch normalization folded."""
    staged = StagedNetwork([NetworkStage(network.build(), nn.Identity())])
    initialize_weights(staged, seed)
    live_batch_norm(staged, network.input_shape, seed)
    (model,) = stage_models(staged, network.input_shape)
    return model


def conv(
    n_in: int,
    n_out: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
    padding: int | tuple[int, int] | None = None,
) -> nn.Sequential:
    """Return convolution, batch normalization and activation, padded to keep the size."""
    if padding is None:
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (size[0] // 2, size[1] // 2)
    layers: list[nn.Module] = [
        nn.Conv2d(n_in, n_out, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(n_out),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def separable(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    """Return a depthwise-separable convolution (Howard et al. 2017, MobileNets, Sec. 3.1)."""
    return nn.Sequential(conv(n_in, n_in, 3, stride, n_in), conv(n_in, n_out, 1))


def classifier(n_in: int, n_classes: int) -> nn.Sequential:
    """Return global average pooling and a linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, n_classes))


def ds_cnn(n_classes: int = 12, channels: int = 1) -> nn.Module:
    """DS-CNN S for keyword spotting, 49 x 10 MFCC, 12 words, where nothing else is said.

    References:
        Zhang et al. (2017), Hello Edge, Table 2. arXiv:1711.07128. MLPerf Tiny's
        keyword-spotting model.
    """
    stem = conv(channels, 64, (10, 4), 2, padding=(5, 1))
    blocks = (separable(64, 64) for _ in range(4))
    return nn.Sequential(stem, *blocks, classifier(64, n_classes))


def mobilenet_v1(width: float = 0.25, n_classes: int = 2) -> nn.Module:
    """MobileNetV1; at width 0.25, 96 x 96 and 2 classes MLPerf Tiny's visual wake words.

    References:
        Howard et al. (2017), MobileNets, Table 1. arXiv:1704.04861
    """
    rows = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    rows += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    channels = int(32 * width)
    layers: list[nn.Module] = [conv(3, channels, 3, 2)]
    for out, stride in rows:
        layers.append(separable(channels, int(out * width), stride))
        channels = int(out * width)
    return nn.Sequential(*layers, classifier(channels, n_classes))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2016, Sec. 3.3)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(n_in, n_out, 3, stride), conv(n_out, n_out, 3, activation=None)
        )
        same = stride == 1 and n_in == n_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(n_in, n_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, shape ``(N, C, H, W)``."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet8(n_classes: int = 10, channels: int = 3) -> nn.Module:
    """ResNet-8 for CIFAR-10, MLPerf Tiny's image classification.

    References:
        Banbury et al. (2021), MLPerf Tiny Benchmark, Sec. 4.2. arXiv:2106.07597
    """
    blocks = (ResidualBlock(16, 16, 1), ResidualBlock(16, 32, 2), ResidualBlock(32, 64, 2))
    return nn.Sequential(conv(channels, 16, 3), *blocks, classifier(64, n_classes))


class InvertedBottleneck(nn.Module):
    """Expansion, depthwise convolution, optional squeeze-and-excitation, projection."""

    def __init__(
        self,
        n_in: int,
        hidden: int,
        n_out: int,
        kernel: int,
        stride: int,
        activation: type[nn.Module],
        squeezed: int = 0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hidden != n_in:
            layers.append(conv(n_in, hidden, 1, activation=activation))
        layers.append(conv(hidden, hidden, kernel, stride, hidden, activation))
        if squeezed:
            layers.append(Excitation(hidden, squeezed))
        layers.append(conv(hidden, n_out, 1, activation=None))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, shape ``(N, C, H, W)``."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class Excitation(nn.Module):
    """Squeeze-and-excitation with a hard sigmoid (Howard et al. 2019, Sec. 5.2)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, shape ``(N, C, H, W)``."""
        y: Tensor = x * self.gate(x)
        return y


def mobilenet_v2(
    width: float = 0.35, n_classes: int = 10, channels: int = 3, small_input: bool = False
) -> nn.Module:
    """MobileNetV2; the last convolution keeps 1280 channels at widths below 1.

    Args:
        width: Multiplier of channels.
        n_classes: Of the classifier.
        channels: Of the input.
        small_input: Leave out the first two of its five halvings, as usual for 32 x 32.

    References:
        Sandler et al. (2018), MobileNetV2, Table 2. doi:10.1109/CVPR.2018.00474
    """
    rows = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)]
    rows += [(6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    n_in, channels = channels, divisible(32 * width)
    stem_stride = 1 if small_input else 2
    layers: list[nn.Module] = [conv(n_in, channels, 3, stem_stride, activation=nn.ReLU6)]
    for row, (expansion, out, repeats, stride) in enumerate(rows):
        for index in range(repeats):
            n_out = divisible(out * width)
            step = stride if index == 0 and not (small_input and row == 1) else 1
            hidden = channels * expansion
            layers.append(InvertedBottleneck(channels, hidden, n_out, 3, step, nn.ReLU6))
            channels = n_out
    layers.append(conv(channels, 1280, 1, activation=nn.ReLU6))
    return nn.Sequential(*layers, classifier(1280, n_classes))


def mobilenet_v3_small(
    n_classes: int = 10, channels: int = 3, small_input: bool = False
) -> nn.Module:
    """MobileNetV3-Small, width 1.

    Args:
        n_classes: Of the classifier.
        channels: Of the input.
        small_input: Leave out the first two of its five halvings, as usual for 32 x 32.

    References:
        Howard et al. (2019), Searching for MobileNetV3, Table 2.
        doi:10.1109/ICCV.2019.00140
    """
    relu, swish = nn.ReLU, nn.Hardswish
    rows: list[tuple[int, int, int, bool, type[nn.Module], int]] = [
        (3, 16, 16, True, relu, 2),
        (3, 72, 24, False, relu, 2),
        (3, 88, 24, False, relu, 1),
        (5, 96, 40, True, swish, 2),
        (5, 240, 40, True, swish, 1),
        (5, 240, 40, True, swish, 1),
        (5, 120, 48, True, swish, 1),
        (5, 144, 48, True, swish, 1),
        (5, 288, 96, True, swish, 2),
        (5, 576, 96, True, swish, 1),
        (5, 576, 96, True, swish, 1),
    ]
    stem_stride = 1 if small_input else 2
    layers: list[nn.Module] = [conv(channels, 16, 3, stem_stride, activation=swish)]
    channels = 16
    for row, (kernel, hidden, out, squeezes, activation, halving) in enumerate(rows):
        stride = 1 if small_input and row == 0 else halving
        squeezed = divisible(hidden / 4) if squeezes else 0
        layers.append(
            InvertedBottleneck(channels, hidden, out, kernel, stride, activation, squeezed)
        )
        channels = out
    layers.append(conv(channels, 576, 1, activation=swish))
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(576, 1024), swish()]
    return nn.Sequential(*layers, *head, nn.Linear(1024, n_classes))


def divisible(channels: float, divisor: int = 8) -> int:
    """Round channels to a multiple of 8, never down by more than a tenth."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "DS-CNN": Network(ds_cnn, (1, 49, 10)),
        "MobileNetV1-0.25 96": Network(mobilenet_v1, (3, 96, 96)),
        "ResNet-8 32": Network(resnet8, (3, 32, 32)),
        "MobileNetV2-0.35 32": Network(mobilenet_v2, (3, 32, 32)),
        "MobileNetV2-0.35 96": Network(mobilenet_v2, (3, 96, 96)),
        "MobileNetV3-small 96": Network(mobilenet_v3_small, (3, 96, 96)),
    }
)
