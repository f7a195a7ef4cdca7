"""Statistics that centre and scale the power-control observations.

Run as ``python -m tests.problems.observation_statistics``; the numbers belong into
``isac_gym/problems/power_control/view.py``. Mean and standard deviation of log10 of the entries of
the normalised network (off the diagonal for the matrices), over all entries of 10^4 draws.
"""

import sys

import torch

from isac_gym.core import Streams, family

SEED, DRAWS = 11, 10_000


def log_statistics(draws: int = DRAWS, *, seed: int = SEED) -> dict[str, tuple[float, float]]:
    """(mean, standard deviation) by name of the array of ``PowerControl.network``."""
    problem = family("power_control").make_problem("paper")
    network = problem.network(problem.sample(Streams.from_seed(seed, draws)))
    found = {}
    for name, tensor in network._asdict().items():
        if tensor.ndim == 3:
            off = ~torch.eye(tensor.shape[-1], dtype=torch.bool)
            tensor = tensor[:, off]
        log = tensor.log10()
        found[name] = (float(log.mean()), float(log.std()))
    return found


if __name__ == "__main__":
    for name, (mean, deviation) in log_statistics().items():
        sys.stdout.write(f'    "{name}": ({mean:.3f}, {deviation:.3f}),\n')
