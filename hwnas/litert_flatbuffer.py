"""Build a LiteRT model out of tensors and operators, by the schema that ai-edge-litert ships.

References:
    schema.fbs of TensorFlow Lite, version 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNATURE = "serving_default"
_SCHEMA_VERSION = 3
# table of options by operator; the others have none
_OPTIONS = {
    "ADD": "AddOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "HARD_SWISH": "HardSwishOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "PAD": "PadOptions",
    "RESHAPE": "ReshapeOptions",
    "TRANSPOSE": "TransposeOptions",
}
_TYPES = {"float32": "FLOAT32", "int32": "INT32"}


class LitertModel:
    """A model of one graph that grows operator by operator."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        # the first buffer is empty: that of tensors that are computed
        self._model = schema.ModelT(
            version=_SCHEMA_VERSION,
            operatorCodes=[],
            subgraphs=[schema.SubGraphT(tensors=[], operators=[], name="main")],
            buffers=[schema.BufferT()],
            description="hwnas",
        )
        self._graph = self._model.subgraphs[0]
        self._codes: dict[str, int] = {}

    def tensor(self, name: str, shape: Sequence[int]) -> int:
        """Add a float32 tensor that is read or computed; return its index."""
        return self._tensor(name, shape, "float32", 0)

    def constant(self, value: NDArray[Any]) -> int:
        """Add a constant, of 32-bit integers where it holds integers; return its index."""
        integers = np.issubdtype(value.dtype, np.integer)
        content = np.ascontiguousarray(value, np.int32 if integers else np.float32)
        data = np.frombuffer(content.tobytes(), np.uint8)
        self._model.buffers.append(self._schema.BufferT(data=data))
        name = f"constant_{len(self._model.buffers) - 1}"
        return self._tensor(name, content.shape, content.dtype.name, len(self._model.buffers) - 1)

    def operator(
        self, kind: str, inputs: Sequence[int], outputs: Sequence[int], **options: Any
    ) -> None:
        """Add an operator.

        Args:
            kind: As the schema's ``BuiltinOperator`` names it.
            inputs: Indices of tensors.
            outputs: Indices of tensors.
            options: As its table in the schema has them; ``padding`` and
                ``fusedActivationFunction`` by name.
        """
        schema = self._schema
        operator = schema.OperatorT(
            opcodeIndex=self._code(kind), inputs=list(inputs), outputs=list(outputs)
        )
        if (table := _OPTIONS.get(kind)) is not None:
            for name, names in _enumerations(schema).items():
                if name in options:
                    options[name] = getattr(names, options[name])
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            operator.builtinOptions = getattr(schema, f"{table}T")(**options)
        self._graph.operators.append(operator)

    def fuse(self, tensor: int, activation: str, name: str) -> bool:
        """Let the operator that computes a tensor apply an activation, too, if it can.

        Args:
            tensor: Index of its output.
            activation: As the schema's ``ActivationFunctionType`` names it.
            name: The tensor's new one.
        """
        makers = [o for o in self._graph.operators if tensor in o.outputs]
        options: Any = makers[0].builtinOptions if makers else None
        if getattr(options, "fusedActivationFunction", None) != 0:
            return False
        options.fusedActivationFunction = getattr(self._schema.ActivationFunctionType, activation)
        self._graph.tensors[tensor].name = name
        return True

    def finished(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
        """Return the file's content; inputs and outputs by the names of its signature."""
        from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray

        schema = self._schema
        self._graph.inputs = list(inputs.values())
        self._graph.outputs = list(outputs.values())
        signature = schema.SignatureDefT(
            signatureKey=SIGNATURE,
            inputs=[schema.TensorMapT(name=n, tensorIndex=i) for n, i in inputs.items()],
            outputs=[schema.TensorMapT(name=n, tensorIndex=i) for n, i in outputs.items()],
        )
        self._model.signatureDefs = [signature]
        return bytes(convert_object_to_bytearray(self._model))

    def _tensor(self, name: str, shape: Sequence[int], dtype: str, buffer: int) -> int:
        tensor = self._schema.TensorT(
            shape=[int(size) for size in shape],
            type=getattr(self._schema.TensorType, _TYPES[dtype]),
            buffer=buffer,
            name=name,
            hasRank=True,
        )
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _code(self, kind: str) -> int:
        """Return the index of an operator's code, which is added when first asked for."""
        if kind not in self._codes:
            self._codes[kind] = len(self._codes)
            builtin = getattr(self._schema.BuiltinOperator, kind)
            code = self._schema.OperatorCodeT(
                # the older field has one byte
                deprecatedBuiltinCode=min(builtin, 127),
                builtinCode=builtin,
            )
            self._model.operatorCodes.append(code)
        return self._codes[kind]


def _enumerations(schema: Any) -> dict[str, Any]:
    return {"padding": schema.Padding, "fusedActivationFunction": schema.ActivationFunctionType}
