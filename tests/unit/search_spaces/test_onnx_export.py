import numpy as np
import onnx
import pytest
import torch

import search_spaces
from search_spaces import Architecture, SearchSpace
from search_spaces.blocks import StagedNetwork
from search_spaces.initialize import initialize_weights, live_batch_norm
from search_spaces.onnx_export import FEATURES, INPUT, LOGITS, stage_models

SHAPE = (1, 8, 8)


def two_exits() -> tuple[SearchSpace, Architecture]:
    space = search_spaces.create(
        "early_exit", input_shape=SHAPE, n_classes=3, n_stages=2, choices={"exit_after": [1]}
    )
    return space, space.sample(np.random.default_rng(0))


def live_network(seed: int = 0) -> StagedNetwork:
    space, arch = two_exits()
    network = space.build(arch)
    assert isinstance(network, StagedNetwork)
    initialize_weights(network, seed)
    live_batch_norm(network, SHAPE, seed)
    return network


def exported_bytes(network: StagedNetwork) -> list[bytes]:
    return [model.SerializeToString() for model in stage_models(network, SHAPE)]


def test_equal_weights_give_the_same_bytes() -> None:
    network = live_network()
    assert exported_bytes(network) == exported_bytes(network) == exported_bytes(live_network())


def test_other_weights_give_other_bytes() -> None:
    pairs = zip(exported_bytes(live_network(0)), exported_bytes(live_network(1)), strict=True)
    assert all(one != other for one, other in pairs)


def test_batch_normalization_is_folded() -> None:
    for model in stage_models(live_network(), SHAPE):
        assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def names(values: object) -> list[str]:
    return [value.name for value in values]  # type: ignore[attr-defined]


def test_all_stages_but_the_last_write_features_for_the_next() -> None:
    first, last = stage_models(live_network(), SHAPE)
    assert names(first.graph.input) == names(last.graph.input) == [INPUT]
    assert names(first.graph.output) == [LOGITS, FEATURES]
    assert names(last.graph.output) == [LOGITS]
    handed_on, read = first.graph.output[1].type, last.graph.input[0].type
    assert handed_on.tensor_type.shape == read.tensor_type.shape
    assert handed_on.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_a_network_in_training_stays_as_it_is() -> None:
    network = live_network().to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    in_training = exported_bytes(network)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in before)
    assert in_training == exported_bytes(live_network())


def test_a_module_without_stages_is_refused() -> None:
    with pytest.raises(TypeError, match=r"StagedNetwork\. Got Linear"):
        stage_models(torch.nn.Linear(1, 1), SHAPE)
