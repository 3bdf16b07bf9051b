"""Train candidates in processes of their own, one torch thread each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from hwnas.candidate_training import TrainingOutcome, TrainingTask
from hwnas.child_processes import blocked_interrupt, end_with_parent
from hwnas.config import ExperimentConfig

if TYPE_CHECKING:
    from hwnas.datasets import Dataset
    from search_spaces import SearchSpace


class TrainingPool:
    """A pool of worker processes that hold the data set and train what they are given.

    Results do not depend on the number of workers: each training has one thread
    and a seed of its own. A worker that is killed is replaced and its training
    repeated once.

    Args:
        config: Experiment, with the data set and the training settings.
        base_dir: Folder that relative data paths start from.
        workers: Number of processes.
    """

    def __init__(self, config: ExperimentConfig, base_dir: Path, workers: int) -> None:
        self._config = config
        self._base_dir = base_dir
        self._workers = workers
        self._executor = self._start()

    def run(
        self,
        tasks: Sequence[TrainingTask],
        on_done: Callable[[int, TrainingOutcome], None] = lambda index, outcome: None,
    ) -> list[TrainingOutcome]:
        """Train all tasks and return their outcomes in the tasks' order.

        Args:
            tasks: What to train.
            on_done: Told of each task's index and outcome as it finishes.
        """
        outcomes: dict[int, TrainingOutcome] = {}
        for attempt in (1, 2):
            missing = [i for i in range(len(tasks)) if i not in outcomes]
            try:
                with blocked_interrupt():
                    futures = {self._executor.submit(_train, tasks[i]): i for i in missing}
                for future in as_completed(futures):
                    index = futures[future]
                    outcomes[index] = future.result()
                    on_done(index, outcomes[index])
            except BrokenProcessPool:
                self._stop()
                self._executor = self._start()
                if attempt == 2:
                    for index in missing:
                        if index not in outcomes:
                            lost = TrainingOutcome(failure="the training process was killed twice")
                            outcomes[index] = lost
                            on_done(index, lost)
            else:
                break
        return [outcomes[i] for i in range(len(tasks))]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_initialize,
            initargs=(self._config.model_dump_json(), str(self._base_dir), os.getpid()),
        )

    def _stop(self) -> None:
        processes = list((self._executor._processes or {}).values())
        self._executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            with contextlib.suppress(OSError, ValueError):
                process.kill()
                process.join()


class _Worker:
    """What a worker process holds between trainings."""

    def __init__(self, config_json: str, base_dir: Path) -> None:
        self._config = ExperimentConfig.model_validate_json(config_json)
        self._base_dir = base_dir

    @cached_property
    def _dataset(self) -> Dataset:
        from hwnas.datasets import load_dataset

        return load_dataset(self._config.dataset, self._base_dir)

    @cached_property
    def _space(self) -> SearchSpace:
        from hwnas.spaces import create_space

        dataset = self._dataset
        return create_space(self._config.space, dataset.input_shape, len(dataset.class_names))

    def train(self, task: TrainingTask) -> TrainingOutcome:
        from hwnas.candidate_training import train_candidate

        return train_candidate(task, self._space, self._dataset, self._config)


_worker: _Worker


def _initialize(config_json: str, base_dir: str, parent: int) -> None:
    global _worker
    end_with_parent(parent)
    import torch

    torch.set_num_threads(1)
    # reads nothing yet: an error here would look like a killed process
    _worker = _Worker(config_json, Path(base_dir))


def _train(task: TrainingTask) -> TrainingOutcome:
    return _worker.train(task)
