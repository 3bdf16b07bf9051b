"""ONNX -> Relax in channels-last layout, with every constant in its final layout.

TVM's own constant folding compiles and runs one kernel per constant, seconds per
network. Transposing and reshaping weights in numpy instead takes milliseconds.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from tvm import ir, relax, transform
from tvm.relax.frontend.onnx import from_onnx

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"
Folder: TypeAlias = Callable[[list[Array], Any, relax.Call], Array]


class ImportFailedError(RuntimeError):
    """TVM cannot import an ONNX model."""


def import_onnx(model: onnx.ModelProto) -> ir.IRModule:
    """Convert an ONNX model to Relax: NHWC convolutions, folded constants, clips as min/max.

    Args:
        model: With static shapes.

    Returns:
        A module with one Relax function ``main`` whose inputs and outputs have
        the layout of the ONNX model.

    Raises:
        ImportFailedError: If TVM does not know an operator or attribute.
    """
    try:
        with redirect_stdout(io.StringIO()):  # it prints what it also raises
            module = from_onnx(model)
    except Exception as error:  # the front end raises anything from KeyError to its own
        raise ImportFailedError(f"{type(error).__name__}: {error}") from error
    return transform.Sequential(
        [
            relax.transform.CanonicalizeBindings(),
            SimplifyGraph(),
            relax.transform.DeadCodeElimination(),
            relax.transform.ConvertLayout({"relax.nn.conv2d": ["NHWC", "HWIO"]}),
            SimplifyGraph(),
            relax.transform.CanonicalizeBindings(),
            relax.transform.DeadCodeElimination(),
        ]
    )(module)


@transform.module_pass(opt_level=0, name="SimplifyGraph")
class SimplifyGraph:
    """Fold constants in numpy and put element-wise operators in a form that fuses."""

    def transform_module(self, module: ir.IRModule, _: transform.PassContext) -> ir.IRModule:
        """Rewrite ``main``."""
        simplifier = _Simplifier(module)
        module.update_func(module.get_global_var("main"), simplifier.visit_expr(module["main"]))
        return module


@relax.expr_functor.mutator
class _Simplifier(relax.PyExprMutator):  # type: ignore[misc]
    """Rewrites calls; looks through variables to the constants they are bound to."""

    def __init__(self, module: ir.IRModule) -> None:
        super().__init__(module)
        self._module = module

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Return the simplest equivalent of a call."""
        call = self.visit_expr_post_order(call)
        if not isinstance(call.op, ir.Op):
            return call
        name = call.op.name.removeprefix("relax.")
        constants = [self._constant(argument) for argument in call.args]
        tensors = [c for c in constants if c is not None]
        n_tensors = sum(not isinstance(a, relax.ShapeExpr) for a in call.args)
        if name in _FOLDERS and len(tensors) == n_tensors:
            return relax.const(np.array(_FOLDERS[name](tensors, call.attrs, call), order="C"))
        if name == "clip":
            low, high = (float(bound.value) for bound in call.args[1:])
            return self._clip(call.args[0], low, high)
        if name == "call_tir":
            return self._bound_by_constant(call)
        if name == "permute_dims":
            call = _reshape_if_only_unit_axes_move(call)
        if call.op.name == "relax.reshape":
            return self._reshape_at_once(call)
        return call

    def _value(self, expression: relax.Expr) -> relax.Expr:
        """Look through a variable to what it is bound to; a parameter is bound to nothing."""
        bound = self.lookup_binding(expression) if isinstance(expression, relax.Var) else None
        return expression if bound is None else bound

    def _reshape_at_once(self, call: relax.Call) -> relax.Expr:
        """Reshape what the argument was reshaped from."""
        source = self._value(call.args[0])
        if isinstance(source, relax.Call) and source.op == call.op:
            return relax.op.reshape(source.args[0], call.args[1])
        return call

    def _constant(self, expression: relax.Expr) -> Array | None:
        expression = self._value(expression)
        if isinstance(expression, ir.GenericConst):
            return np.asarray(expression.value.numpy())
        return None

    def _clip(self, x: relax.Expr, low: float, high: float) -> relax.Expr:
        """``clip`` keeps its layout through ConvertLayout only as minimum(maximum(x))."""
        dtype = str(x.ty.dtype)
        raised = relax.op.nn.relu(x) if low == 0 else relax.op.maximum(x, relax.const(low, dtype))
        clipped = self.builder_.emit(raised)
        return relax.op.minimum(clipped, relax.const(high, dtype))

    def _bound_by_constant(self, call: relax.Call) -> relax.Expr:
        """ONNX Clip arrives as call_tir(maximum | minimum, (x, bound)), which never fuses."""
        kernel, arguments = call.args[0], call.args[1]
        function = kernel.name_hint.rstrip("0123456789_")
        if function not in ("maximum", "minimum") or len(arguments) != 2:
            return call
        bound = self._constant(arguments[1])
        if bound is None or bound.ndim:
            return call
        x, dtype = arguments[0], str(bound.dtype)
        if function == "minimum":
            return relax.op.minimum(x, relax.const(bound.item(), dtype))
        if bound == 0:
            return relax.op.nn.relu(x)
        return relax.op.maximum(x, relax.const(bound.item(), dtype))


def _reshape_if_only_unit_axes_move(call: relax.Call) -> relax.Expr:
    """A transpose that keeps the order of the axes longer than 1 moves no data."""
    shape = [int(extent) for extent in call.args[0].ty.shape]
    order = _axes(call.attrs, len(shape))
    moved = [axis for axis in order if shape[axis] != 1]
    if moved != sorted(moved):
        return call
    return relax.op.reshape(call.args[0], [shape[axis] for axis in order])


def _axes(attributes: Any, n_dims: int) -> list[int]:
    if attributes.axes is None:
        return list(reversed(range(n_dims)))
    return [int(axis) % n_dims for axis in attributes.axes]


def _output_shape(call: relax.Call) -> tuple[int, ...]:
    return tuple(int(extent) for extent in call.ty.shape)


def _fold_reshape(x: list[Array], _: Any, call: relax.Call) -> Array:
    return x[0].reshape(_output_shape(call))


def _fold_permute(x: list[Array], attributes: Any, _: relax.Call) -> Array:
    return np.transpose(x[0], _axes(attributes, x[0].ndim))


def _fold_astype(x: list[Array], _: Any, call: relax.Call) -> Array:
    return x[0].astype(str(call.ty.dtype))


def _elementwise(function: Callable[..., Array]) -> Folder:
    """Fold with numpy; the result keeps the operands' data type."""

    def fold(x: list[Array], _: Any, call: relax.Call) -> Array:
        return np.asarray(function(*x), dtype=str(call.ty.dtype))

    return fold


_FOLDERS: Mapping[str, Folder] = {
    "permute_dims": _fold_permute,
    "reshape": _fold_reshape,
    "expand_dims": _fold_reshape,
    "squeeze": _fold_reshape,
    "astype": _fold_astype,
    "isnan": _elementwise(np.isnan),
    "where": _elementwise(np.where),
    "add": _elementwise(np.add),
    "subtract": _elementwise(np.subtract),
    "multiply": _elementwise(np.multiply),
    "divide": _elementwise(np.divide),
    "negative": _elementwise(np.negative),
    "sqrt": _elementwise(np.sqrt),
}
