"""``isac demo --only federated``: one federation on digits, perfect links, over the air, joint."""

import time
from collections.abc import Mapping

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from baselines.ota_feel.federated import FederatedRun, run_federated

__all__ = ["show"]

_SCHEMES = ("perfect", "ota", "joint")
_SHOWN = (0, 1, 2, 3, 5, 8, 12, 16, 20, 25, 30, 35, 40)
_SEEDS = 8


def show(console: Console) -> None:
    """Train the three federations, then print accuracy and target error round by round."""
    start = time.perf_counter()
    torch.set_num_threads(1)
    names = track(_SCHEMES, "federated digits", console=Console(stderr=True), transient=True)
    runs = {
        name: run_federated("joint", scheme=name, seeds=_SEEDS, rounds=_SHOWN[-1]) for name in names
    }
    title = "Federated digits: 15 devices, 5 local steps a round, preset joint"
    console.print(Text(f"\n{title}", style="bold"))
    console.print(_grid(runs))
    bound = runs["joint"].crb_m2[:, 0].mean().sqrt()
    console.print(
        f"Accuracy in % and root mean square error of the target, {_SEEDS} seeds each:\n"
        "perfect links, learning over the air, learning and localisation over the air.\n"
        f"The bound of one frame in joint is {bound:.2f} m. {time.perf_counter() - start:.0f} s.",
        highlight=False,
    )


def _grid(runs: Mapping[str, FederatedRun]) -> Table:
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in ("round", *_SCHEMES, "perfect (m)", "joint (m)"):
        grid.add_column(name, justify="right", no_wrap=True)
    for number in _SHOWN:
        cells = [f"{100 * run.accuracy[:, number].mean():.1f}" for run in runs.values()]
        errors = [runs[name].error_m[:, number] for name in ("perfect", "joint")]
        cells += [f"{error.square().mean().sqrt():.2f}" for error in errors]
        grid.add_row(str(number), *cells)
    return grid
