"""Quantize the ONNX graphs of a network's stages to int8, after its training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.config_errors import did_you_mean
from hwnas.errors import UserError
from hwnas.stage_running import batched, open_session

if TYPE_CHECKING:
    import onnx

# What ONNX Runtime computes with integers. Hard swish and hard sigmoid are not among them:
# float32 between conversions.
ARITHMETIC = ("Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool")
# What hands integers on, or is fused with what computes them; float32 after float32.
_CARRYING = ("Relu", "Clip", "MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze")
_BATCH = 64


@dataclass(frozen=True)
class _Stage:
    """A stage and what its tensors hold for the calibration samples."""

    model: onnx.ModelProto
    ranges: dict[str, tuple[float, float]]


class CalibratedStages:
    """The stages of a network and the ranges of their activations.

    Each stage sees the features that the one before computes in float32.

    Args:
        models: One per stage, of batch 1, in execution order.
        samples: Training samples ``(N, C, H, W)``.

    Raises:
        ValueError: Without samples.
    """

    def __init__(self, models: Sequence[onnx.ModelProto], samples: NDArray[np.float32]) -> None:
        if len(samples) == 0:
            raise ValueError("wanted samples to calibrate with. Got none.")
        self._stages: list[_Stage] = []
        self.inputs: list[NDArray[np.float32]] = []
        for model in map(_tidied, models):
            self.inputs.append(samples)
            ranges, samples = _observed(model, samples)
            self._stages.append(_Stage(model, ranges))

    @property
    def models(self) -> tuple[onnx.ModelProto, ...]:
        """The stages in float32."""
        return tuple(stage.model for stage in self._stages)

    @property
    def stage_operators(self) -> tuple[tuple[str, ...], ...]:
        """Names of the operators that may stay in float32, in execution order, by stage."""
        return tuple(
            tuple(
                operator_name(index, node)
                for node in stage.model.graph.node
                if node.op_type in ARITHMETIC
            )
            for index, stage in enumerate(self._stages)
        )

    def quantized(self, float_operators: Collection[str] = ()) -> tuple[onnx.ModelProto, ...]:
        """Return the stages in int8 but for some operators; see `quantize_stages`."""
        known = [name for names in self.stage_operators for name in names]
        if unknown := sorted(set(float_operators) - set(known)):
            hint = did_you_mean(unknown[0], known)
            raise UserError(f"float_operators: the network has no {unknown[0]!r}.{hint}")
        return self._with(lambda name: name not in float_operators)

    def quantized_alone(self, operator: str) -> tuple[onnx.ModelProto, ...]:
        """Return the stages in float32 but for one operator."""
        return self._with(lambda name: name == operator)

    def _with(self, wanted: Callable[[str], bool]) -> tuple[onnx.ModelProto, ...]:
        return tuple(
            _quantized(
                stage,
                [n.name for n in stage.model.graph.node if wanted(operator_name(index, n))],
            )
            for index, stage in enumerate(self._stages)
        )


def calibration_samples(x: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return up to so many training samples, spread over the split.

    Neighbours may be of one class or one speaker.

    Args:
        x: The training split, ``(N, C, H, W)``.
        count: How many.
    """
    return x[np.linspace(0, len(x) - 1, min(count, len(x))).round().astype(np.intp)]


def quantize_stages(
    models: Sequence[onnx.ModelProto],
    samples: NDArray[np.float32],
    *,
    float_operators: Collection[str] = (),
) -> tuple[onnx.ModelProto, ...]:
    """Quantize the stages of a trained network: weights int8, activations uint8, sums int32.

    Weights are symmetric with a scale for each output channel; an activation has one scale,
    from its smallest and largest value in ``samples``. Operators are written as float ones
    between ``QuantizeLinear`` and ``DequantizeLinear``. Stages read and write float32 as
    before. Equal inputs give equal bytes.

    Args:
        models: One per stage, of batch 1, in execution order; see `stage_models`.
        samples: Training samples ``(N, C, H, W)`` to calibrate with; a few hundred do.
        float_operators: What stays in float32, named by `operator_name`.

    Raises:
        UserError: If there is no such operator.
        ValueError: Without samples.

    References:
        Jacob et al. (2018), Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference, Sec. 2. arXiv:1712.05877
    """
    return CalibratedStages(models, samples).quantized(float_operators)


def operator_name(stage: int, node: onnx.NodeProto) -> str:
    """Return what names an operator in its network, such as ``stage_0:/trunk/Conv``."""
    return f"stage_{stage}:{node.name}"


def _quantized(stage: _Stage, nodes: list[str]) -> onnx.ModelProto:
    """Quantize the nodes of these names, as far as they can be."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    model = onnx.ModelProto()
    model.CopyFrom(stage.model)
    if not nodes:  # the quantizer would take none for all
        return model
    ranges = {
        name: (np.float32(low), np.float32(high)) for name, (low, high) in stage.ranges.items()
    }
    # Activations uint8, weights int8: the pair that x86 multiplies. int8 both ways took 1.5 times
    # as long with AVX-512 and VNNI (five random networks), at the same error. Weights use all 8
    # bits: without VNNI (x86 before 2019) sums of two products may saturate. Accuracy is judged
    # by the same kernels, so that it would show.
    quantizer = QDQQuantizer(
        onnx.shape_inference.infer_shapes(model),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=nodes,
        nodes_to_exclude=[],
        op_types_to_quantize=[*ARITHMETIC, *_CARRYING],
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    found: onnx.ModelProto = quantizer.model.model
    _remove_unused(found.graph)
    del found.graph.value_info[:]
    onnx.checker.check_model(found)
    return found


def _observed(
    model: onnx.ModelProto, samples: NDArray[np.float32]
) -> tuple[dict[str, tuple[float, float]], NDArray[np.float32]]:
    """Return smallest and largest value of every activation, and the last output."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    floats = [
        value.name
        for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    ]
    watched = batched(model)
    outputs = [value.name for value in model.graph.output]
    hidden = [n for n in floats if n not in outputs and n != model.graph.input[0].name]
    watched.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in hidden
    )
    session = open_session(watched)
    lows: dict[str, float] = {}
    highs: dict[str, float] = {}
    last = []
    for start in range(0, len(samples), _BATCH):
        x = samples[start : start + _BATCH]
        values = dict(zip([*outputs, *hidden], session.run(None, {"input": x}), strict=True))
        last.append(values[outputs[-1]])
        values["input"] = x
        for name, value in values.items():
            lows[name] = min(lows.get(name, np.inf), float(value.min()))
            highs[name] = max(highs.get(name, -np.inf), float(value.max()))
    return {name: (lows[name], highs[name]) for name in lows}, np.concatenate(last)


def _tidied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose constants are all initializers of their own.

    The exporter writes some as nodes, and lets equal weights share one by way of ``Identity``;
    the quantizer would take both for activations.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type == "Constant":
            tensor = onnx.helper.get_attribute_value(node.attribute[0])
        elif node.op_type == "Identity" and node.input[0] in constants:
            tensor = constants[node.input[0]]
        else:
            kept.append(node)
            continue
        own = onnx.TensorProto()
        own.CopyFrom(tensor)
        own.name = node.output[0]
        constants[own.name] = own
        graph.initializer.append(own)
    _replace(graph.node, kept)
    _remove_unused(graph)
    return copy


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Remove constants that no node reads."""
    read = {name for node in graph.node for name in node.input}
    _replace(graph.initializer, [t for t in graph.initializer if t.name in read])


def _replace(field: Any, items: Sequence[Any]) -> None:
    copies = [type(item).FromString(item.SerializeToString()) for item in items]
    del field[:]
    field.extend(copies)
