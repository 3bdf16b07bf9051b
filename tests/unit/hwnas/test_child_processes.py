"""Processes started here: Ctrl-C is their parent's, from the first one on."""

import subprocess
import sys

_SCRIPT = """
import multiprocessing, signal
from hwnas.child_processes import blocked_interrupt

if __name__ == "__main__":
    with blocked_interrupt():
        pool = multiprocessing.get_context("spawn").Pool(1)
    with pool:
        held_back = pool.apply(signal.pthread_sigmask, (signal.SIG_BLOCK, []))
    here = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    print(signal.SIGINT in held_back, signal.SIGINT in here)
"""


def test_the_first_process_that_is_started_is_spared_ctrl_c() -> None:
    """It is the one with which multiprocessing starts its resource tracker."""
    command = [sys.executable, "-c", _SCRIPT]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.split() == ["True", "False"]
