import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import search_spaces
from search_spaces import (
    Architecture,
    SearchSpace,
    Workload,
    bytes_moved,
    macs,
    n_params,
    peak_activation_bytes,
    total_macs,
    total_params,
)


def early_exit_network() -> tuple[SearchSpace, Architecture]:
    """Image (1, 8, 8), 3 classes; an exit with a 1x1 convolution after the first stage."""
    space = search_spaces.create(
        "early_exit",
        input_shape=(1, 8, 8),
        n_classes=3,
        n_stages=2,
        choices={
            "stem_width": [8],
            "width_multiplier": [1.0],
            "stride_plan": ["1-1-2"],
            "depth": [1],
            "s0_width": [8],
            "s1_width": [16],
            "s0_kernel": [3],
            "s1_kernel": [5],
            "s0_expansion": [1],
            "s1_expansion": [2],
            "s0_se": [0],
            "s1_se": [1],
            "activation": ["relu6"],
            "exit_after": [1],
            "exit_width": [16],
        },
    )
    return space, space.sample(np.random.default_rng(0))


def test_macs_of_a_small_network_equal_those_counted_by_hand() -> None:
    space, arch = early_exit_network()
    first, second = space.stages(arch)
    # trunk, 8x8 pixels:    stem 3x3, 1 -> 8        64 * 9 * 1 * 8  =  4608
    #                       depthwise 3x3, 8        64 * 9 * 8      =  4608
    #                       project 8 -> 8          64 * 8 * 8      =  4096
    #                       residual addition                           0
    # exit head:            1x1, 8 -> 16            64 * 8 * 16     =  8192
    #                       pool, linear 16 -> 3    16 * 3          =    48
    assert total_macs(first.workloads) == 4608 + 4608 + 4096 + 8192 + 48 == 21552
    # expand at 8x8:        1x1, 8 -> 16            64 * 8 * 16     =  8192
    # stride 2, 4x4 pixels: depthwise 5x5, 16       16 * 25 * 16    =  6400
    # squeeze to 16/4 = 4:  pool, 16 -> 4, 4 -> 16  64 + 64         =   128
    #                       product, per element    16 * 16         =   256
    #                       project 16 -> 16        16 * 16 * 16    =  4096
    # head:                 pool, linear 16 -> 3    16 * 3          =    48
    assert total_macs(second.workloads) == 8192 + 6400 + 128 + 256 + 4096 + 48 == 19120


def test_parameters_of_a_small_network_equal_those_counted_by_hand() -> None:
    space, arch = early_exit_network()
    first, second = space.stages(arch)
    # weights plus one bias per output channel, batch normalization folded
    # stem        9 * 1 * 8 + 8  =  80
    # depthwise   9 * 8 + 8      =  80
    # project     8 * 8 + 8      =  72
    # exit 1x1    8 * 16 + 16    = 144
    # exit linear 16 * 3 + 3     =  51
    assert total_params(first.workloads) == 80 + 80 + 72 + 144 + 51 == 427
    # expand      8 * 16 + 16    = 144
    # depthwise   25 * 16 + 16   = 416
    # squeeze     16 * 4 + 4     =  68
    # excite      4 * 16 + 16    =  80
    # project     16 * 16 + 16   = 272
    # linear      16 * 3 + 3     =  51
    assert total_params(second.workloads) == 144 + 416 + 68 + 80 + 272 + 51 == 1031


def test_bytes_of_the_stem_equal_those_counted_by_hand() -> None:
    space, arch = early_exit_network()
    stem = space.workloads(arch)[0]
    # input 1*8*8, output 8*8*8, 80 parameters, 4 bytes each
    assert bytes_moved(stem) == 4 * (64 + 512 + 80)


def test_an_addition_and_a_product_move_their_second_input_too() -> None:
    assert bytes_moved(Workload("add", (4, 5, 5), (4, 5, 5))) == 4 * 3 * 100
    assert bytes_moved(Workload("scale", (4, 5, 5), (4, 5, 5))) == 4 * (100 + 4 + 100)


def test_peak_activations_are_the_expansion_at_full_resolution() -> None:
    space, arch = early_exit_network()
    # both 1x1 convolutions from 8 to 16 channels at 8x8 pixels hold the most: 24 * 64 floats
    assert peak_activation_bytes(space.workloads(arch)) == 4 * 24 * 64


@pytest.mark.parametrize("cost", [macs, n_params, bytes_moved])
def test_an_unknown_operator_costs_an_error_not_nothing(cost: object) -> None:
    assert callable(cost)
    with pytest.raises(LookupError, match="softmax"):
        cost(Workload("softmax", (10,), (10,)))


@given(
    channels=st.integers(1, 9),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
)
def test_a_depthwise_convolution_costs_as_many_convolutions_of_one_channel(
    channels: int, size: tuple[int, int], kernel: tuple[int, int]
) -> None:
    shape, one = (channels, *size), (1, *size)
    depthwise = Workload("depthwise_conv2d", shape, shape, kernel)
    single = Workload("conv2d", one, one, kernel)
    assert macs(depthwise) == channels * macs(single)
    assert n_params(depthwise) == channels * n_params(single)
