"""Which kernel belongs to which workload: by hand, and on what TVM makes of real networks."""

import numpy as np
import pytest

from latency_predictors.coverage import distinct_architectures
from latency_predictors.kernel_segments import Segment, kernels_by_segment, segments
from search_spaces import Stage, Workload, create

CONV = Workload("conv2d", (3, 8, 8), (16, 8, 8), (3, 3))
GATE = Workload("conv2d", (4, 1, 1), (16, 1, 1), activation="hard_sigmoid")
SCALE = Workload("scale", (16, 8, 8), (16, 8, 8))
ADD = Workload("add", (16, 8, 8), (16, 8, 8))
POOL = Workload("global_avg_pool", (16, 8, 8), (16, 1, 1))
LINEAR = Workload("linear", (16,), (10,))


def test_elementwise_workloads_join_the_one_before_them() -> None:
    stage = Stage((3, 8, 8), None, (CONV, GATE, SCALE, ADD, POOL, LINEAR))
    found = segments(stage)
    assert [s.workloads for s in found[1:]] == [(CONV,), (GATE, SCALE, ADD), (POOL,), (LINEAR,)]
    assert found[0] == Segment("input", (Workload("copy", (3, 8, 8), (3, 8, 8)),))


def test_features_that_are_handed_on_are_a_segment() -> None:
    found = segments(Stage((3, 8, 8), (16, 8, 8), (CONV,)))
    assert found[-1] == Segment("output", (Workload("copy", (16, 8, 8), (16, 8, 8)),))


@pytest.mark.parametrize("first", [Workload("max_pool", (3, 8, 8), (3, 4, 4)), ADD])
def test_an_operator_of_which_no_kernel_is_known_raises(first: Workload) -> None:
    with pytest.raises(LookupError, match=first.op):
        segments(Stage((3, 8, 8), None, (first, CONV)))


def test_kernels_are_given_to_the_input_the_workloads_and_the_output() -> None:
    stage = Stage((3, 8, 8), (16, 8, 8), (CONV, POOL, LINEAR))
    kernels = [
        "transpose_00",
        "fused_conv2d_add_relu_01",
        "add_02",
        "mean_03",
        "fused_matmul_add_04",
        "transpose_05",
    ]
    # input, convolution with what could not be fused into it, pooling, linear layer, output
    assert kernels_by_segment(stage, kernels) == ((0,), (1, 2), (3,), (4,), (5,))


def test_without_features_to_hand_on_what_comes_last_belongs_to_the_last_workload() -> None:
    kernels = ["fused_conv2d_add_01", "transpose_02"]
    assert kernels_by_segment(Stage((1, 8, 8), None, (CONV,)), kernels) == ((), (0, 1))


def test_hashes_that_spell_an_operator_are_none() -> None:
    stage = Stage((3, 8, 8), None, (CONV,))
    assert kernels_by_segment(stage, ["conv2d_mean"]) == ((), (0,))


@pytest.mark.parametrize("kernels", [[], ["mean_01"], ["conv2d_01", "conv2d_02"]])
def test_kernels_of_another_network_raise(kernels: list[str]) -> None:
    with pytest.raises(ValueError, match="workloads need"):
        kernels_by_segment(Stage((3, 8, 8), None, (CONV,)), kernels)


@pytest.mark.parametrize("name", ["depthwise_separable", "early_exit"])
def test_equal_segments_of_real_networks_are_equal_kernels_and_no_kernel_is_lost(name: str) -> None:
    from search_spaces.onnx_export import stage_models
    from targets.kernel_calls import called_kernels
    from targets.tvm_build import fuse

    space = create(name, input_shape=(3, 32, 32), n_classes=10)
    kernels_of: dict[Segment, set[tuple[str, ...]]] = {}
    for arch in distinct_architectures(space, 3, np.random.default_rng(0)):
        models = stage_models(space.build(arch), space.input_shape)
        for stage, model in zip(space.stages(arch), models, strict=True):
            kernels = called_kernels(fuse(model))
            owned = kernels_by_segment(stage, kernels)
            assert sorted(i for indices in owned for i in indices) == list(range(len(kernels)))
            for segment, indices in zip(segments(stage), owned, strict=True):
                kernels_of.setdefault(segment, set()).add(tuple(kernels[i] for i in indices))
    assert all(len(found) == 1 for found in kernels_of.values())
    distinct = [kernels for (kernels,) in kernels_of.values()]
    assert len(set(distinct)) == len(distinct)
