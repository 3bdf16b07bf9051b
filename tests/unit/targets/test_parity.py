import numpy as np
import pytest

from targets.parity import (
    LEAST_SIGNAL,
    TOLERANCE,
    NoReferenceError,
    ParityError,
    Reference,
    input_shapes,
    largest_error,
    random_inputs,
    reference_of,
)
from targets.testing import (
    GraphBuilder,
    dead_model,
    run_onnxruntime,
    small_model,
    unknown_operator_model,
)


def scaled_model(scale: float, offset: float):
    """Output ``offset + scale * x`` for inputs x of scale 1."""
    graph = GraphBuilder((1, 8))
    scaled = graph.node("Mul", "x", graph.constant(np.float32(scale)))
    return graph.build(graph.node("Add", scaled, graph.constant(np.float32(offset))))


def test_a_correct_program_has_no_error() -> None:
    model = small_model()
    reference = reference_of(model)
    # ONNX Runtime with all optimizations against ONNX Runtime with none
    error = largest_error(reference, lambda inputs: run_onnxruntime(model, inputs))
    assert error < 1e-5


def test_the_largest_error_is_reported_in_units_of_the_output() -> None:
    reference = Reference((), ((np.array([1.0, -4.0], np.float32),),))
    reference = Reference(((np.zeros(1, np.float32),),), reference.outputs)
    off = np.array([1.0, -4.0 + 2e-5], np.float32)
    assert largest_error(reference, lambda _: [off]) == pytest.approx(2e-5, rel=0.05)


@pytest.mark.parametrize("wrong", [2 * TOLERANCE, 1.0, np.nan, np.inf])
@pytest.mark.parametrize("output", [0, 1])
def test_one_wrong_value_in_one_output_is_caught(wrong: float, output: int) -> None:
    model = small_model()
    reference = reference_of(model)

    def run(inputs):
        outputs = [array.copy() for array in run_onnxruntime(model, inputs)]
        scale = max(np.abs(o[output]).max() for o in reference.outputs)
        outputs[output].flat[3] += wrong * scale
        return outputs

    with pytest.raises(ParityError, match=f"output {output} is off by"):
        largest_error(reference, run)


def test_outputs_of_another_shape_are_caught() -> None:
    model = small_model()
    with pytest.raises(ParityError, match=r"shape \(10, 1\), wanted \(1, 10\)"):
        largest_error(reference_of(model), lambda x: [o.T for o in run_onnxruntime(model, x)])


def test_a_constant_output_is_refused() -> None:
    with pytest.raises(ParityError, match="live activations"):
        reference_of(dead_model())


@pytest.mark.parametrize(("scale", "is_live"), [(LEAST_SIGNAL / 20, False), (0.1, True)])
def test_an_output_is_live_if_it_changes_by_more_than_its_least_signal(
    scale: float, is_live: bool
) -> None:
    model = scaled_model(scale, offset=1.0)
    if is_live:
        reference_of(model)
    else:
        with pytest.raises(ParityError, match="hardly depends on the input"):
            reference_of(model)


def test_a_network_that_averages_its_input_is_live() -> None:
    # the mean of 4096 standard normal values changes by 1/64 only, of an output of 1
    graph = GraphBuilder((1, 1, 64, 64))
    mean = graph.node("GlobalAveragePool", "x")
    averaging = graph.build(graph.node("Add", mean, graph.constant(np.float32(1))))
    (first, *_), *others = (
        [o.item() for o in outputs] for outputs in reference_of(averaging).outputs
    )
    assert max(abs(other - first) for (other,) in others) > 1


def test_an_output_that_is_zero_or_not_finite_is_refused() -> None:
    with pytest.raises(ParityError, match="hardly depends"):
        reference_of(scaled_model(0.0, 0.0))
    with pytest.raises(ParityError, match="not finite"):
        reference_of(scaled_model(np.inf, 0.0))


def test_a_model_onnxruntime_cannot_run_has_no_reference() -> None:
    with pytest.raises(NoReferenceError, match="NoSuchOperator"):
        reference_of(unknown_operator_model())


def test_inputs_depend_on_the_seed_alone() -> None:
    model = small_model()
    assert input_shapes(model) == {"x": (1, 1, 8, 8)}
    np.testing.assert_array_equal(random_inputs(model, 1)[0], random_inputs(model, 1)[0])
    assert not np.array_equal(random_inputs(model, 1)[0], random_inputs(model, 2)[0])
