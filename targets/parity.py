"""Does an artifact compute what ONNX Runtime computes?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from targets.quantized import is_quantized

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

Arrays: TypeAlias = "tuple[NDArray[np.float32], ...]"

TOLERANCE = 2e-5
"""Largest difference allowed, relative to the largest reference output.

Reordered float32 sums of some hundred terms differ by about 1e-6; wrong kernels
found so far differed by 1e-3 and more.
"""

LEAST_SIGNAL = 100 * TOLERANCE
"""How much outputs must change between inputs, relative to the largest, for parity to mean
anything: in a network with dead activations, wrong kernels go unnoticed."""

QUANTIZED_TOLERANCE = 0.2
"""Largest difference allowed of a quantized model, relative to the largest reference output.

A runtime that fuses quantized operators rounds a few values that lie between two steps
the other way, and the step is passed on: ONNX Runtime differs from itself by up to 0.1.
"""

QUANTIZED_TYPICAL_TOLERANCE = 0.02
"""What the median difference over all inputs may be: mostly, nothing lies between two steps."""

QUANTIZED_LEAST_SIGNAL = 5 * QUANTIZED_TYPICAL_TOLERANCE
"""As `LEAST_SIGNAL`, of a quantized model."""

# Means of the inputs: networks that average all places of an input see little of its noise.
_OFFSETS = (0.0, 1.0, -1.0, 2.0)
_SEED = 20


class ParityError(ValueError):
    """The outputs differ from the reference, or cannot tell right from wrong."""


class NoReferenceError(RuntimeError):
    """ONNX Runtime cannot run a model."""


@dataclass(frozen=True)
class Reference:
    """Inputs and what ONNX Runtime makes of them.

    Args:
        inputs: For each run, one array per model input.
        outputs: For each run, one array per model output.
        quantized: Whether the model is.
    """

    inputs: tuple[Arrays, ...]
    outputs: tuple[Arrays, ...]
    quantized: bool = False


def reference_of(model: onnx.ModelProto) -> Reference:
    """Run a model in ONNX Runtime, unoptimized, on random inputs of several means.

    Raises:
        ParityError: If an output is not finite or hardly depends on the input.
        NoReferenceError: If ONNX Runtime cannot run the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    inputs = tuple(
        tuple(noise + np.float32(offset) for noise in random_inputs(model, seed=_SEED + run))
        for run, offset in enumerate(_OFFSETS)
    )
    names = tuple(input_shapes(model))
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        outputs = tuple(
            tuple(session.run(None, dict(zip(names, arrays, strict=True)))) for arrays in inputs
        )
    except Exception as error:  # its error types share no base but this
        raise NoReferenceError(f"ONNX Runtime: {error}") from error
    reference = Reference(inputs, outputs, is_quantized(model))
    _require_live(reference)
    return reference


def random_inputs(model: onnx.ModelProto, seed: int) -> Arrays:
    """Draw one standard-normal float32 array for each input of a model.

    Raises:
        ValueError: If an input has a dynamic shape or is not float32.
    """
    rng = np.random.default_rng(seed)
    return tuple(
        rng.standard_normal(shape, dtype=np.float32) for shape in input_shapes(model).values()
    )


def input_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return name and shape of each input of a model.

    Raises:
        ValueError: If an input has a dynamic shape or is not float32.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    shapes = {}
    for value in model.graph.input:
        if value.name in constants:
            continue
        tensor = value.type.tensor_type
        if tensor.elem_type != 1:  # onnx.TensorProto.FLOAT, without importing onnx
            raise ValueError(f"input {value.name!r}: wanted float32")
        shape = tuple(dimension.dim_value for dimension in tensor.shape.dim)
        if 0 in shape:
            raise ValueError(f"input {value.name!r}: wanted a static shape, got {shape}")
        shapes[value.name] = shape
    return shapes


def largest_error(
    reference: Reference, run: Callable[[Arrays], Sequence[NDArray[np.float32]]]
) -> float:
    """Return the largest absolute difference of what ``run`` computes from the reference.

    Args:
        reference: From `reference_of`.
        run: Inputs to outputs, on the device.

    Raises:
        ParityError: If shapes differ, or an output is off by more than `TOLERANCE`; of a
            quantized model, by more than `QUANTIZED_TOLERANCE`, or half of the time by
            more than `QUANTIZED_TYPICAL_TOLERANCE`.
    """
    largest = 0.0
    actual = [run(arrays) for arrays in reference.inputs]
    for index, expected in enumerate(zip(*reference.outputs, strict=True)):
        errors = [
            _difference(index, outputs[index], wanted)
            for outputs, wanted in zip(actual, expected, strict=True)
        ]
        scale = _scale(expected)
        limit = QUANTIZED_TOLERANCE if reference.quantized else TOLERANCE
        # the largest of several with a NaN among them may be a number
        worst = float(np.max(errors))
        _require_within(index, worst, scale, limit)
        if reference.quantized:
            _require_within(index, float(np.median(errors)), scale, QUANTIZED_TYPICAL_TOLERANCE)
        largest = max(largest, worst)
    return largest


def _difference(index: int, got: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    if got.shape != wanted.shape:
        raise ParityError(f"output {index}: shape {got.shape}, wanted {wanted.shape}")
    return float(np.abs(got - wanted).max())


def _require_within(index: int, error: float, scale: float, tolerance: float) -> None:
    if not error <= tolerance * scale:  # NaN fails too
        raise ParityError(
            f"output {index} is off by {error:.2g}, {error / scale:.2g} of its scale; "
            f"allowed is {tolerance:g}"
        )


def _require_live(reference: Reference) -> None:
    for index, outputs in enumerate(zip(*reference.outputs, strict=True)):
        scale = _scale(outputs)
        if not np.isfinite(scale):
            raise ParityError(f"output {index} is not finite for random inputs")
        signal = max(float(np.abs(other - outputs[0]).max()) for other in outputs[1:])
        least = QUANTIZED_LEAST_SIGNAL if reference.quantized else LEAST_SIGNAL
        if signal < least * scale or scale == 0:
            raise ParityError(
                f"output {index} hardly depends on the input (it changes by {signal:.2g}, "
                f"{least:g} of its scale {scale:.2g} is wanted), so no check can find "
                "a wrong kernel: give the network live activations, such as batch-norm "
                "statistics from data"
            )


def _scale(outputs: Sequence[NDArray[np.float32]]) -> float:
    return max(float(np.abs(output).max()) for output in outputs)
