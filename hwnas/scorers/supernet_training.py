"""Train the weights that all networks of a space share: sandwich rule, in-place distillation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.func import functional_call

from hwnas.config import ExperimentConfig
from hwnas.datasets import Dataset
from hwnas.scorers.shared_weights import SharedWeights, extreme
from hwnas.training import device_of, exit_loss, optimize
from search_spaces import Architecture, SearchSpace
from targets import write_atomically

_CPU_S = "cpu_s"


@dataclass(frozen=True)
class Supernet:
    """Trained shared weights.

    Args:
        weights: Of all networks.
        cpu_s: Processor seconds that the training took.
    """

    weights: SharedWeights
    cpu_s: float

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        tensors = {k: t.detach().cpu().contiguous() for k, t in self.weights.tensors.items()}
        write_atomically(path, save(tensors, metadata={_CPU_S: repr(self.cpu_s)}))

    @classmethod
    def load(cls, path: Path, space: SearchSpace, seed: int) -> Supernet:
        """Read what `save` has written for the same space and seed."""
        weights = SharedWeights(space, seed)
        with safe_open(path, framework="pt") as file, torch.no_grad():
            for key, tensor in weights.tensors.items():
                tensor.copy_(file.get_tensor(key))
            return cls(weights, float(file.metadata()[_CPU_S]))


def train_supernet(
    space: SearchSpace, dataset: Dataset, config: ExperimentConfig, seed: int
) -> Supernet | None:
    """Train shared weights with the settings of candidates; ``None`` where they diverge.

    At every step the largest network learns the labels; the smallest and some drawn at random
    learn what the largest one's final exit answers, in every exit of theirs.

    Args:
        space: Whose networks share weights.
        dataset: Its training split is used.
        config: ``training``, and ``accuracy.supernet`` for what is its own.
        seed: Of weights, batches and architectures.

    References:
        Yu & Huang (2019), Universally Slimmable Networks and Improved Training Techniques: the
        sandwich rule and in-place distillation. arXiv:1903.05134
    """
    began = time.process_time()
    settings = config.accuracy.supernet
    training = config.training.model_copy(
        update={"epochs": settings.epochs or config.training.epochs}
    )
    shared = SharedWeights(space, seed)
    shared.to(device_of(training))
    rng = np.random.default_rng([seed, 1])

    def forward(arch: Architecture, x: Tensor) -> tuple[Tensor, ...]:
        network = space.build(arch)
        _use_batch_statistics(network)
        exits: tuple[Tensor, ...] = functional_call(network, shared.of(arch, network), (x,))
        return exits

    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        teacher = forward(extreme(space, True, rng), x)
        loss = exit_loss(teacher, y, training)
        answers = teacher[-1].detach().softmax(dim=1)
        # the teacher's answers are smooth already
        plain = training.model_copy(update={"label_smoothing": 0.0})
        students = [extreme(space, False, rng)]
        students += [space.sample(rng) for _ in range(settings.random_networks)]
        for arch in students:
            loss = loss + exit_loss(forward(arch, x), answers, plain)
        return loss

    result = optimize(list(shared.tensors.values()), loss_of, dataset, training, seed)
    shared.to(torch.device("cpu"))
    return None if result.diverged else Supernet(shared, time.process_time() - began)


def recalibrate_batch_norm(network: nn.Module, batches: Sequence[Tensor]) -> None:
    """Set batch-norm statistics to the means over batches; left in evaluation mode.

    References:
        Yu & Huang (2019), Universally Slimmable Networks. arXiv:1903.05134
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
    network.train()
    with torch.no_grad():
        for batch in batches:
            network(batch)
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _use_batch_statistics(network: nn.Module) -> None:
    """Have batch norms keep no statistics: those of many networks would mix."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
