"""Scores of untrained networks, milliseconds each: a filter, and features for a surrogate.

All are those of the final path, every trunk and the last head. An exit policy is chosen so that
it loses no more than a stated share of the final exit's accuracy: what a network reaches is what
its final path does, while early exits decide its cost, which is predicted elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.datasets import Dataset
from search_spaces import Architecture, SearchSpace, Shape
from search_spaces.blocks import InvertedResidual, NetworkStage, StagedNetwork
from search_spaces.encoding import decode
from search_spaces.initialize import initialize_weights

TRAINING_FREE = ("naswot", "synflow", "zen")
"""What the columns of `TrainingFreeScores` are."""

_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish)
_NASWOT_SAMPLES = 64
_ZEN_SAMPLES = 16
_ZEN_REPEATS = 4
_ZEN_STEP = 0.01


class TrainingFreeScores:
    """Scores architectures without training; each is computed once.

    Args:
        space: Search space.
        dataset: Its training split gives naswot's samples.
        seed: Of weights, samples and noise, the same for every architecture.
    """

    def __init__(self, space: SearchSpace, dataset: Dataset, seed: int) -> None:
        self._space = space
        self._seed = seed
        rng = np.random.default_rng(seed)
        n = len(dataset.train.x)
        chosen = rng.choice(n, size=min(_NASWOT_SAMPLES, n), replace=False)
        self._samples = torch.from_numpy(dataset.train.x[chosen])
        self._known: dict[str, tuple[float, ...]] = {}

    def __call__(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        """Return scores of shape ``(n, 3)``, columns as in `TRAINING_FREE`; more is better."""
        for arch in architectures:
            if arch.arch_id not in self._known:
                self._known[arch.arch_id] = self._score(arch)
        rows = [self._known[arch.arch_id] for arch in architectures]
        return np.array(rows, dtype=np.float64).reshape(-1, len(TRAINING_FREE))

    def of_encodings(self, encodings: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the same for rows of choice positions, shape ``(n, d)``."""
        return self(decode(self._space, encodings))

    def _score(self, arch: Architecture) -> tuple[float, ...]:
        def network() -> StagedNetwork:
            built = self._space.build(arch)
            initialize_weights(built, self._seed)
            if not isinstance(built, StagedNetwork):
                raise TypeError(f"wanted a StagedNetwork. Got {type(built).__name__}.")
            return built

        shape = self._space.input_shape
        return (
            naswot(network(), self._samples),
            synflow(network(), shape),
            zen(network(), shape, self._seed),
        )


def naswot(network: StagedNetwork, x: Tensor) -> float:
    """Return how differently a network's activations cut the samples apart.

    ``log det(K + I)``, where ``K_ij`` counts the units of the final path that are on for both
    samples i and j or off for both. A unit is on where its activation's input is positive. The
    identity, one unit beside thousands, keeps it finite where two samples agree everywhere.

    Args:
        network: With random weights; its batch norms use the statistics of ``x``.
        x: Shape ``(N, C, H, W)``.

    References:
        Mellor et al. (2021), Neural Architecture Search without Training.
        arXiv:2006.04647
    """
    kernel = torch.eye(len(x), dtype=torch.float64)

    def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        on = (inputs[0] > 0).flatten(1).to(torch.float32)
        off = 1 - on
        kernel.add_(on @ on.T + off @ off.T)

    with _hooked(_final_path(network), _ACTIVATIONS, add):
        network.train()
        with torch.no_grad():
            network(x)
    return float(torch.linalg.slogdet(kernel).logabsdet)


def synflow(network: StagedNetwork, input_shape: Shape) -> float:
    """Return the logarithm of the synaptic flow through a network.

    ``log sum theta * dR/dtheta`` over the weights of convolutions and linear layers, all made
    positive, R being the sum of the final logits for an input of ones. Nothing is negative
    then, so that activations pass everything: they are taken as the identity, lest those that
    saturate cut the flow. In double precision, as R is a product over layers.

    Args:
        network: With random weights and batch norms that do nothing; changed.
        input_shape: ``(C, H, W)``.

    References:
        Tanaka et al. (2020), Pruning neural networks without any data by iteratively
        conserving synaptic flow. arXiv:2006.05467. Its sum over all weights as a score:
        Abdelfattah et al. (2021), Zero-Cost Proxies for Lightweight NAS. arXiv:2101.08134
    """
    network.double().eval()
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _ACTIVATIONS):
                setattr(parent, name, nn.Identity())
    weights = [p for p in network.parameters() if p.ndim > 1]
    with torch.no_grad():
        for weight in weights:
            weight.abs_()
    output = network(torch.ones(1, *input_shape, dtype=torch.float64))[-1].sum()
    gradients = torch.autograd.grad(output, weights, allow_unused=True)
    pairs = zip(weights, gradients, strict=True)
    return math.log(sum(float((w * g).detach().sum()) for w, g in pairs if g is not None))


def zen(network: StagedNetwork, input_shape: Shape, seed: int) -> float:
    """Return how strongly random features of a network react to noise in its input.

    ``log E ||f(x) - f(x + a e)|| + sum_i log s_i``: f is what the last head reads, with
    weights, x and e all standard normal and residual connections removed; ``s_i^2`` is the
    mean variance of the channels that batch norm i divides by. Mean over several draws.

    Args:
        network: Its weights are drawn anew; changed.
        input_shape: ``(C, H, W)``.
        seed: Of weights and inputs.

    References:
        Lin et al. (2021), Zen-NAS. arXiv:2102.01063
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, InvertedResidual):
            module.has_residual = False
    draws = [_zen_once(network, input_shape, generator) for _ in range(_ZEN_REPEATS)]
    return sum(draws) / len(draws)


def _zen_once(network: StagedNetwork, input_shape: Shape, generator: torch.Generator) -> float:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, generator=generator)
    scales: list[float] = []

    def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance = inputs[0].var(dim=(0, 2, 3), correction=0).mean()
        scales.append(0.5 * math.log(float(variance)))

    trunks = [stage.trunk for stage in _stages(network)]

    def features(x: Tensor) -> Tensor:
        for trunk in trunks:
            x = trunk(x)
        return x

    network.train()
    x = torch.randn(_ZEN_SAMPLES, *input_shape, generator=generator)
    noise = torch.randn(x.shape, generator=generator)
    with torch.no_grad():
        with _hooked(trunks, (nn.BatchNorm2d,), add):
            before = features(x)
        moved = features(x + _ZEN_STEP * noise) - before
    return math.log(float(moved.flatten(1).norm(dim=1).mean())) + sum(scales)


def _stages(network: StagedNetwork) -> list[NetworkStage]:
    return [stage for stage in network.stages if isinstance(stage, NetworkStage)]


def _final_path(network: StagedNetwork) -> list[nn.Module]:
    """Return every trunk and the last head."""
    stages = _stages(network)
    return [*(stage.trunk for stage in stages), stages[-1].head]


@contextmanager
def _hooked(
    parts: Sequence[nn.Module],
    kinds: tuple[type[nn.Module], ...],
    hook: Callable[..., Any],
) -> Iterator[None]:
    """Have a hook called before each module of some kinds inside the parts."""
    modules = [m for part in parts for m in part.modules() if isinstance(m, kinds)]
    handles = [module.register_forward_pre_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
