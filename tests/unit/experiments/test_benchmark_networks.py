"""The benchmark's networks are the published ones."""

import pytest
from torch import nn

from experiments.benchmarks.networks import (
    NETWORKS,
    Network,
    ds_cnn,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3_small,
    resnet8,
    to_onnx,
)
from latency_predictors.features import graph_macs
from search_spaces import workloads_from_onnx
from search_spaces.blocks import NetworkStage, StagedNetwork
from search_spaces.onnx_export import stage_models
from targets.parity import reference_of


@pytest.mark.parametrize(
    ("network", "macs", "parameters"),
    [
        # Zhang et al. (2017), Table 4: 5.4 MOps = 2.7 MMACs; parameters counted by hand from
        # Table 2: 64*40 + 4*(64*9 + 64*64) + 64*12 weights
        (Network(ds_cnn, (1, 49, 10)), 2.7e6, 22_016),
        # Howard et al. (2017), Table 8: 569 MMACs, 4.2 M parameters
        (Network(lambda: mobilenet_v1(1.0, 1000), (3, 224, 224)), 569e6, 4.2e6),
        # Banbury et al. (2021): 12.5 MMACs, 78 k parameters
        (Network(resnet8, (3, 32, 32)), 12.5e6, 78e3),
        # Sandler et al. (2018), Table 4: 300 MMACs, 3.4 M
        (Network(lambda: mobilenet_v2(1.0, 1000), (3, 224, 224)), 300e6, 3.4e6),
        # Howard et al. (2019), Table 3: 56 MMACs, 2.5 M
        (Network(lambda: mobilenet_v3_small(1000), (3, 224, 224)), 56e6, 2.5e6),
    ],
)
def test_macs_and_parameters_are_the_published_ones(
    network: Network, macs: float, parameters: float
) -> None:
    built = network.build().eval()
    staged = StagedNetwork([NetworkStage(built, nn.Identity())])
    (model,) = stage_models(staged, network.input_shape)
    # published figures are rounded to two or three digits
    assert graph_macs([workloads_from_onnx(model)])[0] == pytest.approx(macs, rel=0.04)
    weights = [parameter for parameter in built.parameters() if parameter.ndim > 1]
    assert sum(w.numel() for w in weights) == pytest.approx(parameters, rel=0.04)


@pytest.mark.parametrize("name", NETWORKS)
def test_activations_are_alive(name: str) -> None:
    assert reference_of(to_onnx(NETWORKS[name])).outputs
