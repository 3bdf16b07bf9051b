"""Write a stage's ONNX graph as a LiteRT model (``.tflite``), channels last.

The format's own schema does it: the converters for torch cannot be installed beside TVM, whose
``typing-extensions`` is newer than theirs allow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UserError
from hwnas.litert_flatbuffer import LitertModel

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]
Shape = tuple[int, ...]

# hard sigmoid as torch has it: min(max(x + 3, 0), 6) / 6
_SLOPE, _OFFSET = 1 / 6, 0.5


def litert_model(model: onnx.ModelProto) -> bytes:
    """Return a float32 LiteRT model that computes what an ONNX graph does.

    Images are ``(1, H, W, C)``, as kernels for microcontrollers and NPUs want them, where ONNX
    has ``(1, C, H, W)``; what has fewer axes is as in ONNX. Inputs and outputs keep their names
    and order, in a signature. Equal graphs give equal bytes.

    Args:
        model: Static shapes, batch 1, as `search_spaces.onnx_export.stage_models` writes them.

    Raises:
        UserError: If it holds an operator that this does not know, or a known one with
            attributes that LiteRT has not; it names the node.
    """
    return _Converter(model).convert()


def channels_last(x: Array) -> Array:
    """Return images ``(N, C, H, W)`` as ``(N, H, W, C)``; leave all else as it is."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x


def channels_first(x: Array) -> Array:
    """Undo `channels_last`."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x


class _Converter:
    """Goes through an ONNX graph in order and adds to a LiteRT one."""

    def __init__(self, model: onnx.ModelProto) -> None:
        import onnx
        from onnx import numpy_helper

        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        self._graph = inferred.graph
        values = (*self._graph.input, *self._graph.value_info, *self._graph.output)
        self._shapes: dict[str, Shape] = {
            v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values
        }
        self._constants = {t.name: numpy_helper.to_array(t) for t in self._graph.initializer}
        self._readers = [name for node in self._graph.node for name in node.input]
        self._readers += [v.name for v in self._graph.output]
        self._out = LitertModel()
        self._tensors: dict[str, int] = {}

    def convert(self) -> bytes:
        inputs = [v.name for v in self._graph.input if v.name not in self._constants]
        for name in inputs:
            self._tensors[name] = self._tensor(name)
        for node in self._graph.node:
            self._convert(node)
        outputs = [v.name for v in self._graph.output]
        return self._out.finished(
            {name: self._tensors[name] for name in inputs},
            {name: self._tensors[name] for name in outputs},
        )

    def _convert(self, node: onnx.NodeProto) -> None:
        from onnx import helper, numpy_helper

        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant":
            self._constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
        elif node.op_type == "Identity" and node.input[0] in self._constants:
            self._constants[node.output[0]] = self._constants[node.input[0]]
        elif (convert := _CONVERTERS.get(node.op_type)) is not None:
            convert(self, node, attributes)
        else:
            raise self._unknown(node, "is not known to this conversion")

    def conv(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        weights = self._constant(node, 1)
        out, per_group, *kernel = weights.shape
        if len(kernel) != 2:
            raise self._unknown(node, f"convolves {len(kernel)} axes; wanted 2")
        groups = int(attributes.get("group", 1))
        channels = per_group * groups
        if groups not in (1, channels):
            raise self._unknown(node, f"has {groups} groups; wanted 1 or one per channel")
        strides = [int(s) for s in attributes.get("strides", (1, 1))]
        dilations = [int(d) for d in attributes.get("dilations", (1, 1))]
        if dilations != [1, 1] or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
            raise self._unknown(node, "is dilated or padded by itself")
        pads = [int(p) for p in attributes.get("pads", (0, 0, 0, 0))]
        x, padding = self._padded(node, kernel, strides, pads)
        options = {"padding": padding, "strideH": strides[0], "strideW": strides[1]}
        bias = self._constant(node, 2) if len(node.input) > 2 else np.zeros(out, np.float32)
        if groups == channels and groups > 1:
            kind, options["depthMultiplier"] = "DEPTHWISE_CONV_2D", out // groups
            weights = weights.transpose(1, 2, 3, 0)
        else:
            kind, weights = "CONV_2D", weights.transpose(0, 2, 3, 1)
        self._add(node, kind, [x, self._out.constant(weights), self._out.constant(bias)], **options)

    def gemm(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        scales = [float(attributes.get(name, 1.0)) for name in ("alpha", "beta")]
        if scales != [1.0, 1.0] or attributes.get("transA", 0):
            raise self._unknown(node, "scales or transposes what it reads")
        weights = self._constant(node, 1)
        weights = weights if attributes.get("transB", 0) else weights.T
        bias = self._constant(node, 2) if len(node.input) > 2 else np.zeros(len(weights))
        inputs = [self._input(node, 0)]
        inputs += [self._out.constant(weights), self._out.constant(np.ravel(bias))]
        self._add(node, "FULLY_CONNECTED", inputs)

    def clip(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        given = [name for name in node.input[1:] if name]
        bounds = [float(self._constants.get(name, np.nan)) for name in given]
        if len(given) != len(node.input) - 1 or bounds != [0.0, 6.0]:
            raise self._unknown(node, "clips to other bounds than 0 and 6")
        self._activation(node, "RELU6")

    def relu(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        self._activation(node, "RELU")

    def hard_swish(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        self._add(node, "HARD_SWISH", [self._input(node, 0)])

    def hard_sigmoid(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        slope, offset = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
        if not np.allclose([slope, offset], [_SLOPE, _OFFSET], atol=1e-6):
            raise self._unknown(node, f"is {slope:g} x + {offset:g}; wanted x / 6 + 0.5")
        moved = self._out.tensor(f"{node.output[0]}/moved", _last(self._shapes[node.input[0]]))
        three, sixth = (self._out.constant(np.array([v])) for v in (_OFFSET / _SLOPE, _SLOPE))
        inputs = [self._input(node, 0), three]
        self._out.operator("ADD", inputs, [moved], fusedActivationFunction="RELU6")
        self._add(node, "MUL", [moved, sixth])

    def add(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        self._elementwise(node, "ADD")

    def mul(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        self._elementwise(node, "MUL")

    def global_average_pool(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        if len(self._shapes[node.input[0]]) != 4:
            raise self._unknown(node, "pools something else than images")
        axes = self._out.constant(np.array([1, 2], np.int32))
        self._add(node, "MEAN", [self._input(node, 0), axes], keepDims=True)

    def flatten(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        if attributes.get("axis", 1) != 1:
            raise self._unknown(node, "flattens the batch, too")
        shape = self._shapes[node.input[0]]
        x = self._input(node, 0)
        if len(shape) == 4 and shape[1] > 1 and shape[2:] != (1, 1):
            # ONNX counts channels before pixels
            order = self._out.constant(np.array([0, 3, 1, 2], np.int32))
            first = self._out.tensor(f"{node.output[0]}/channels_first", shape)
            self._out.operator("TRANSPOSE", [x, order], [first])
            x = first
        flat = (shape[0], int(np.prod(shape[1:])))
        new_shape = self._out.constant(np.array(flat, np.int32))
        self._add(node, "RESHAPE", [x, new_shape], newShape=list(flat))

    def _elementwise(self, node: onnx.NodeProto, kind: str) -> None:
        if any(name not in self._shapes for name in node.input):
            raise self._unknown(node, "joins a tensor with a constant")
        if len({len(self._shapes[name]) for name in node.input}) != 1:
            raise self._unknown(node, "joins tensors with different numbers of axes")
        self._add(node, kind, [self._input(node, k) for k in (0, 1)])

    def _activation(self, node: onnx.NodeProto, kind: str) -> None:
        """Fuse an activation with what is before it, if nothing else reads that."""
        before, after = node.input[0], node.output[0]
        x = self._input(node, 0)
        if self._readers.count(before) == 1 and self._out.fuse(x, kind, after):
            self._tensors[after] = x
        else:
            self._add(node, kind, [x])

    def _padded(
        self, node: onnx.NodeProto, kernel: Sequence[int], strides: Sequence[int], pads: list[int]
    ) -> tuple[int, str]:
        """Return what a convolution reads, and how it pads; with an operator of its own for it.

        LiteRT pads by itself only so much that an output is as long as its input over the
        stride, the odd pixel at the end.
        """
        shape = self._shapes[node.input[0]]
        x = self._input(node, 0)
        if not any(pads):
            return x, "VALID"
        own_before, own_after = [], []
        for size, k, stride in zip(shape[2:], kernel, strides, strict=True):
            total = max((-(-size // stride) - 1) * stride + k - size, 0)
            own_before.append(total // 2)
            own_after.append(total - total // 2)
        if pads == own_before + own_after:
            return x, "SAME"
        (top, left, bottom, right), (_, c, h, w) = pads, shape
        widths = np.array([(0, 0), (top, bottom), (left, right), (0, 0)], np.int32)
        padded = (1, h + top + bottom, w + left + right, c)
        tensor = self._out.tensor(f"{node.output[0]}/padded", padded)
        self._out.operator("PAD", [x, self._out.constant(widths)], [tensor])
        return tensor, "VALID"

    def _add(self, node: onnx.NodeProto, kind: str, inputs: Sequence[int], **options: Any) -> None:
        """Add an operator that computes a node's output."""
        (name,) = node.output
        self._tensors[name] = self._tensor(name)
        self._out.operator(kind, inputs, [self._tensors[name]], **options)

    def _tensor(self, name: str) -> int:
        shape = self._shapes.get(name, ())
        if not shape or 0 in shape:
            raise UserError(f"{name}: its shape is not fixed; wanted a static ONNX graph.")
        return self._out.tensor(name, _last(shape))

    def _input(self, node: onnx.NodeProto, index: int) -> int:
        name = node.input[index]
        if name not in self._tensors:
            raise self._unknown(node, f"reads the constant {name}")
        return self._tensors[name]

    def _constant(self, node: onnx.NodeProto, index: int) -> Array:
        name = node.input[index]
        if name not in self._constants:
            raise self._unknown(node, f"reads {name}, which is not a constant")
        return self._constants[name]

    @staticmethod
    def _unknown(node: onnx.NodeProto, what: str) -> UserError:
        return UserError(f"operator {node.op_type} ({node.name or node.output[0]}) {what}")


def _last(shape: Shape) -> Shape:
    """Return a shape with its channels last, if it is an image's."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


_CONVERTERS: dict[str, Callable[[_Converter, Any, Mapping[str, Any]], None]] = {
    "Add": _Converter.add,
    "Clip": _Converter.clip,
    "Conv": _Converter.conv,
    "Flatten": _Converter.flatten,
    "Gemm": _Converter.gemm,
    "GlobalAveragePool": _Converter.global_average_pool,
    "HardSigmoid": _Converter.hard_sigmoid,
    "HardSwish": _Converter.hard_swish,
    "Mul": _Converter.mul,
    "Relu": _Converter.relu,
}
