"""What every search space must do, as a test class for pytest.

Subclass it, give it the space, and run pytest::

    class TestMySpace(SearchSpaceTestCase):
        @pytest.fixture
        def space(self, input_shape: Shape) -> SearchSpace:
            return MySpace(input_shape, n_classes=4)

Every test then runs on images, spectrograms and sensor windows, with several
random architectures each. Call ``pytest.register_assert_rewrite`` with this
module's name in a ``conftest.py`` to see the values of a failed assertion.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search_spaces._types import Architecture, ChainedSpace, Choice, SearchSpace, Shape
from search_spaces.blocks import StagedNetwork
from search_spaces.chain import chain_stages
from search_spaces.encoding import CanonicalEncodings, encode
from search_spaces.initialize import initialize_weights, live_batch_norm
from search_spaces.onnx_export import INPUT, stage_models
from search_spaces.onnx_workloads import workloads_from_onnx
from search_spaces.source_values import SourceValues
from search_spaces.workload_costs import macs, total_params

INPUT_SHAPES: dict[str, Shape] = {
    "image": (3, 32, 32),
    "small_image": (1, 8, 8),
    "spectrogram": (1, 49, 10),
    "sensor_window": (6, 1, 128),
}
_SEEDS = (0, 1, 2)
_N_INPUTS = 16
# Both sum in float32, in different order, and one folds batch normalization. The largest
# difference seen on 48 random architectures was 3e-6 of the largest logit.
_PARITY_RELATIVE_TOLERANCE = 1e-4
# Spread of the logits over different inputs, relative to their size. On 96 random
# architectures it was at least 0.38; with torch's own initialization its median is below 0.001.
_LEAST_RELATIVE_SPREAD = 0.2


class SearchSpaceTestCase:
    """The contract of `SearchSpace`; a subclass provides the fixture ``space``."""

    @pytest.fixture(params=list(INPUT_SHAPES.values()), ids=list(INPUT_SHAPES))
    def input_shape(self, request: pytest.FixtureRequest) -> Shape:
        """``(C, H, W)``; override it for a space that takes only some shapes."""
        return cast(Shape, request.param)

    @pytest.fixture
    def space(self, input_shape: Shape) -> SearchSpace:
        """Return the space under test, for inputs of this shape."""
        raise NotImplementedError("override the fixture 'space'")

    @pytest.fixture(params=_SEEDS, ids="seed{}".format)
    def arch(self, space: SearchSpace, request: pytest.FixtureRequest) -> Architecture:
        """Return a random architecture."""
        return space.sample(np.random.default_rng(request.param))

    @pytest.fixture
    def network(self, space: SearchSpace, arch: Architecture) -> StagedNetwork:
        """Return its network with live random weights."""
        return _live_network(space, arch)

    @pytest.fixture
    def models(self, space: SearchSpace, network: StagedNetwork) -> tuple[onnx.ModelProto, ...]:
        """Return the exported graph of each stage."""
        return stage_models(network, space.input_shape)

    # the space as data

    def test_it_has_all_members_of_a_search_space(
        self, space: SearchSpace, input_shape: Shape
    ) -> None:
        """The protocol is met, and the shape asked for is the shape reported."""
        assert isinstance(space, SearchSpace)
        assert tuple(space.input_shape) == input_shape

    def test_every_dimension_has_choices_that_differ(self, space: SearchSpace) -> None:
        """No dimension is empty or lists a value twice."""
        assert space.dimensions
        for name, values in space.dimensions.items():
            assert values, name
            assert len(set(values)) == len(values), name

    def test_samples_are_canonical_and_within_the_dimensions(self, space: SearchSpace) -> None:
        """Sampling gives every dimension one of its values, in canonical form."""
        rng = np.random.default_rng(0)
        for arch in (space.sample(rng) for _ in range(20)):
            assert arch.space == space.name
            assert [name for name, _ in arch.choices] == sorted(space.dimensions)
            for name, value in arch.choices:
                assert value in space.dimensions[name], name
            assert space.canonicalize(dict(arch.choices)) == arch

    def test_sampling_depends_on_the_generator_alone(self, space: SearchSpace) -> None:
        """Equal generators give equal architectures; one generator gives various ones."""
        first, again = np.random.default_rng(1), np.random.default_rng(1)
        samples = [space.sample(first) for _ in range(20)]
        assert samples == [space.sample(again) for _ in range(20)]
        assert len(set(samples)) > 1

    def test_canonicalize_is_idempotent(self, space: SearchSpace) -> None:
        """Canonical choices stay as they are, whatever choices they come from."""
        rng = np.random.default_rng(2)
        for _ in range(20):
            once = space.canonicalize(_draw(space, rng))
            twice = space.canonicalize(dict(once.choices))
            assert (twice, twice.arch_id) == (once, once.arch_id)

    def test_choices_in_another_order_are_the_same_architecture(
        self, space: SearchSpace, arch: Architecture
    ) -> None:
        """The order of the keys is no information."""
        assert space.canonicalize(dict(reversed(arch.choices))).arch_id == arch.arch_id

    def test_equal_numbers_of_other_types_are_the_same_architecture(
        self, space: SearchSpace, arch: Architecture
    ) -> None:
        """``1.0`` is ``1``: a JSON writer elsewhere may have turned one into the other."""
        as_floats = {n: float(v) if isinstance(v, int) else v for n, v in arch.choices}
        assert space.canonicalize(as_floats).arch_id == arch.arch_id

    def test_arch_id_survives_json(self, space: SearchSpace, arch: Architecture) -> None:
        """An architecture read back is the same one, canonical, with the same identifier."""
        read = Architecture.from_dict(json.loads(json.dumps(arch.to_dict())))
        assert (read, read.arch_id) == (arch, arch.arch_id)
        assert space.canonicalize(dict(read.choices)) == arch

    def test_a_missing_dimension_is_named(self, space: SearchSpace, arch: Architecture) -> None:
        """Choices must be complete."""
        name = next(iter(space.dimensions))
        with pytest.raises(ValueError, match=name):
            space.canonicalize({n: v for n, v in arch.choices if n != name})

    def test_an_unknown_dimension_is_named(self, space: SearchSpace, arch: Architecture) -> None:
        """Choices must belong to the space."""
        with pytest.raises(ValueError, match="no_such_dimension"):
            space.canonicalize({**dict(arch.choices), "no_such_dimension": 1})

    def test_a_value_outside_its_dimension_is_named(
        self, space: SearchSpace, arch: Architecture
    ) -> None:
        """The message tells which dimension and which value."""
        name = next(iter(space.dimensions))
        with pytest.raises(ValueError, match=f"{name}.*no such value"):
            space.canonicalize({**dict(arch.choices), name: "no such value"})

    # analytic description

    def test_workloads_are_those_of_the_stages(
        self, space: SearchSpace, arch: Architecture
    ) -> None:
        """The stages cut the network and leave nothing out."""
        stages = space.stages(arch)
        assert space.workloads(arch) == tuple(w for stage in stages for w in stage.workloads)

    def test_each_stage_reads_what_the_one_before_hands_on(
        self, space: SearchSpace, arch: Architecture
    ) -> None:
        """Shapes chain from the input to the last stage, and each stage ends in logits."""
        stages = space.stages(arch)
        reads = [stage.input_shape for stage in stages]
        hands_on = [stage.output_shape for stage in stages]
        assert reads == [tuple(space.input_shape), *hands_on[:-1]]
        assert hands_on[-1] is None
        for stage in stages:
            assert stage.workloads[0].input_shape == stage.input_shape
            assert stage.workloads[-1].output_shape == (space.n_classes,)

    def test_links_where_it_has_them_give_its_stages(self, space: SearchSpace) -> None:
        """Whatever the choices, canonical or not: equal arguments give equal operators."""
        if not isinstance(space, ChainedSpace):
            pytest.skip("not a ChainedSpace: arrays of architectures are asked for one by one")
        rng = np.random.default_rng(5)
        for _ in range(50):
            choices = _draw(space, rng)
            stages = space.stages(space.canonicalize(choices))
            assert chain_stages(space.links, space.input_shape, choices) == stages

    def test_arrays_are_made_canonical_as_single_architectures_are(
        self, space: SearchSpace
    ) -> None:
        """Also where the space has no collapses."""
        rng = np.random.default_rng(6)
        drawn = [_draw(space, rng) for _ in range(100)]
        rows = np.array(
            [[own.index(d[name]) for name, own in space.dimensions.items()] for d in drawn]
        )
        wanted = encode(space, [space.canonicalize(choices) for choices in drawn])
        assert np.array_equal(CanonicalEncodings(space)(rows), wanted)

    def test_links_where_it_has_them_can_be_looked_up(self, space: SearchSpace) -> None:
        """Every combination of choices has a value, even one that no architecture has."""
        if not isinstance(space, ChainedSpace):
            pytest.skip("not a ChainedSpace: arrays of architectures are asked for one by one")
        values = SourceValues(space.dimensions)
        for link in space.links:
            assert all(size > 0 for size in values.sizes((link.present, *link.arguments)))

    # against torch, ONNX and ONNX Runtime

    def test_built_networks_have_the_shapes_of_the_stages(
        self, space: SearchSpace, arch: Architecture, network: StagedNetwork
    ) -> None:
        """Every exit gives a row of logits per sample, every stage its features."""
        stages = space.stages(arch)
        x = _inputs(space)[:2]
        with torch.no_grad():
            assert [tuple(y.shape) for y in network(x)] == [(2, space.n_classes)] * len(stages)
            assert len(network.stages) == len(stages)
            for module, stage in zip(network.stages, stages, strict=True):
                _, x = module(x)
                if stage.output_shape is not None:
                    assert tuple(x.shape) == (2, *stage.output_shape)

    def test_workloads_equal_those_of_the_exported_graphs(
        self, space: SearchSpace, arch: Architecture, models: tuple[onnx.ModelProto, ...]
    ) -> None:
        """The analytic workloads are what a compiler would see, stage by stage."""
        analytic = [stage.workloads for stage in space.stages(arch)]
        assert analytic == [workloads_from_onnx(model) for model in models]

    def test_macs_and_parameters_equal_those_of_torch(
        self, space: SearchSpace, arch: Architecture, network: StagedNetwork
    ) -> None:
        """Counted layer by layer while torch runs, as a deployed network: folded."""
        counted = _count_layers(network, _inputs(space)[:1])
        workloads = space.workloads(arch)
        # a channel-wise product is no torch layer, so its hooks cannot see it
        assert sum(macs(w) for w in workloads if w.op != "scale") == counted.macs
        assert total_params(workloads) == counted.params

    def test_onnx_runtime_computes_what_torch_computes(
        self, space: SearchSpace, network: StagedNetwork, models: tuple[onnx.ModelProto, ...]
    ) -> None:
        """The stages, run in a row from their ONNX graphs, give the logits of every exit."""
        x = _inputs(space)[:1]
        with torch.no_grad():
            expected = [logits.numpy() for logits in network(x)]
        actual = _run_stages(models, x.numpy())
        for ours, theirs in zip(actual, expected, strict=True):
            tolerance = _PARITY_RELATIVE_TOLERANCE * float(np.abs(theirs).max())
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)

    def test_outputs_depend_clearly_on_the_input(
        self, space: SearchSpace, network: StagedNetwork
    ) -> None:
        """Otherwise a comparison of outputs would pass on wrong code."""
        with torch.no_grad():
            for logits in network(_inputs(space)):
                size = logits.square().mean(0).sqrt().norm()
                assert float(logits.std(0).norm() / size) > _LEAST_RELATIVE_SPREAD

    def test_equal_architectures_build_equal_networks(
        self, space: SearchSpace, arch: Architecture, network: StagedNetwork
    ) -> None:
        """The canonical choices and a seed tell everything: names, weights and outputs."""
        again = _live_network(space, Architecture.from_dict(arch.to_dict()))
        weights, weights_again = network.state_dict(), again.state_dict()
        assert list(weights) == list(weights_again)
        assert all(torch.equal(weights[name], weights_again[name]) for name in weights)
        x = _inputs(space)[:2]
        with torch.no_grad():
            outputs = zip(network(x), again(x), strict=True)
            assert all(torch.equal(one, other) for one, other in outputs)


def _draw(space: SearchSpace, rng: np.random.Generator) -> dict[str, Choice]:
    """Draw every dimension, active or not, without the space's own code."""
    return {n: values[rng.integers(len(values))] for n, values in space.dimensions.items()}


def _live_network(space: SearchSpace, arch: Architecture) -> StagedNetwork:
    network = space.build(arch)
    assert isinstance(network, StagedNetwork)
    initialize_weights(network, seed=0)
    live_batch_norm(network, space.input_shape, seed=0)
    return network


def _inputs(space: SearchSpace) -> Tensor:
    """Return noise of various strengths: pooling averages equal noise to equal features."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(_N_INPUTS, *space.input_shape, generator=generator)
    return noise * torch.linspace(0.25, 2.0, _N_INPUTS).view(-1, 1, 1, 1)


@dataclass
class _LayerCount:
    macs: int = 0
    params: int = 0
    awaits_bias: bool = False

    def add_layer(self, layer: nn.Module, _: Any, output: Tensor) -> None:
        """Count a convolution or a linear layer that just ran on one sample."""
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        # every output is a sum over one filter: as many products as the filter has weights
        self.macs += output.numel() * layer.weight[0].numel()
        self.params += layer.weight.numel()
        self.params += 0 if layer.bias is None else layer.bias.numel()
        self.awaits_bias = layer.bias is None

    def add_norm(self, norm: nn.Module, *_: Any) -> None:
        """Folding gives the convolution before it a bias, where it has none."""
        assert isinstance(norm, nn.BatchNorm2d)
        self.params += norm.num_features if self.awaits_bias else 0
        self.awaits_bias = False


def _count_layers(network: nn.Module, x: Tensor) -> _LayerCount:
    count = _LayerCount()
    hooks = list(_hooks(network, count))
    try:
        with torch.no_grad():
            network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return count


def _hooks(network: nn.Module, count: _LayerCount) -> Iterator[Any]:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            yield module.register_forward_hook(count.add_layer)
        elif isinstance(module, nn.BatchNorm2d):
            yield module.register_forward_hook(count.add_norm)


def _run_stages(
    models: tuple[onnx.ModelProto, ...], x: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Return the logits of every exit; each stage reads the features of the one before."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    exits = []
    for model in models:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        logits, *features = session.run(None, {INPUT: x})
        exits.append(logits)
        x = features[0] if features else x
    return exits
