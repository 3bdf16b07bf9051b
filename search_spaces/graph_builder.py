"""Write down the workloads of a network without building it."""

from __future__ import annotations

from search_spaces._types import Shape, Workload
from search_spaces.layout import axis_sizes, conv_output_shape, round_channels


class GraphBuilder:
    """Collects fused operators in execution order while it tracks the shape.

    Args:
        shape: ``(C, H, W)`` of the input.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.workloads: list[Workload] = []

    def conv(
        self, channels: int, kernel: int, stride: int, activation: str, *, depthwise: bool = False
    ) -> None:
        """Append a convolution with bias and its activation."""
        out = conv_output_shape(self.shape, channels, stride)
        self._append(
            Workload(
                "depthwise_conv2d" if depthwise else "conv2d",
                self.shape,
                out,
                axis_sizes(self.shape, kernel),
                axis_sizes(self.shape, stride),
                activation,
            )
        )

    def squeeze_excitation(self) -> None:
        """Append pooling, two gates as 1x1 convolutions, and the channel-wise product."""
        full = self.shape
        self.global_avg_pool()
        self.conv(squeeze_channels(full[0]), 1, 1, "relu")
        self.conv(full[0], 1, 1, "hard_sigmoid")
        self.shape = full
        self._append(Workload("scale", full, full))

    def inverted_residual(
        self, channels: int, kernel: int, stride: int, expansion: int, se: bool, activation: str
    ) -> None:
        """Append an inverted residual; expansion 1 makes it depthwise-separable."""
        shape = self.shape
        if expansion != 1:
            self.conv(shape[0] * expansion, 1, 1, activation)
        self.conv(self.shape[0], kernel, stride, activation, depthwise=True)
        if se:
            self.squeeze_excitation()
        self.conv(channels, 1, 1, "none")
        if self.shape == shape:
            self._append(Workload("add", shape, shape))

    def global_avg_pool(self) -> None:
        """Append pooling over both spatial axes."""
        self._append(Workload("global_avg_pool", self.shape, (self.shape[0], 1, 1)))

    def linear(self, features: int) -> None:
        """Append a linear layer with bias on the flattened channels."""
        self._append(Workload("linear", (self.shape[0],), (features,)))

    def _append(self, workload: Workload) -> None:
        self.workloads.append(workload)
        self.shape = workload.output_shape


def classifier(shape: Shape, n_classes: int) -> tuple[Workload, ...]:
    """Return the workloads of pooling and a linear layer: features to logits."""
    builder = GraphBuilder(shape)
    builder.global_avg_pool()
    builder.linear(n_classes)
    return tuple(builder.workloads)


def squeeze_channels(channels: int) -> int:
    """Return the width of the bottleneck of squeeze-and-excitation: a quarter."""
    return round_channels(channels / 4)
