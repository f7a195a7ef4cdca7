"""Federated training behind Figs. 2 and 3, and the command that records its curves.

All schemes share images, their split, first weights and batches lane by lane, so that differences
are paired. A recorded curve is a CSV file with comment lines on how it was made.

    python -m baselines.ota_feel.figures.learning --dataset mnist --out mnist.csv
"""

import argparse
import csv
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch

from baselines.figures import Estimate, Table
from baselines.ota_feel.federated import demand_finite, federated_process
from isac_gym.core.random import Streams, lane_seeds
from isac_gym.problems.ota_feel.federated import OtaFeelFederated
from isac_gym.problems.ota_feel.model import OtaFeelDecision

__all__ = ["LEARNERS", "Curves", "Learner", "learning_streams", "record", "recorded"]


@dataclass(frozen=True)
class Learner:
    """A scheme of Figs. 2 and 3.

    Attributes:
        scheme: Of the federated process.
        pulse: Of the uplink.
        scaling: Of the updates.
    """

    scheme: str
    pulse: str
    scaling: str = "adaptive"

    def process(self, rounds: int, **settings: Any) -> OtaFeelFederated:
        """The process; equal weights in every scheme."""
        settings = {"averaging": "equal", "scaling": self.scaling, **settings}
        preset = "paper" if self.pulse == "dft" else "coherent"
        return federated_process(preset, scheme=self.scheme, rounds=rounds, settings=settings)


LEARNERS = {
    "perfect": Learner("perfect", "none"),
    "ota": Learner("ota", "none"),
    "joint": Learner("joint", "none"),
    "joint-dft": Learner("joint", "dft"),
    "joint-dft-max": Learner("joint", "dft", "max"),
}


@dataclass
class Curves:
    """Accuracies over rounds.

    Attributes:
        rows: Round, scheme, seed, accuracy, test loss, target error in m.
        about: How they were made, line by line.
    """

    rows: list[tuple[int, str, int, float, float, float]] = field(default_factory=list)
    about: list[str] = field(default_factory=list)

    def add(self, number: int, scheme: str, state: Any) -> None:
        """Rows of all lanes of a state."""
        columns = [c.double().cpu().tolist() for c in (state.accuracy, state.loss, state.error_m)]
        for seed, (accuracy, loss, error) in enumerate(zip(*columns, strict=True)):
            self.rows.append((number, scheme, seed, accuracy, loss, error))

    @property
    def last_round(self) -> int:
        """Last round that every scheme has reached."""
        last: dict[str, int] = {}
        for number, scheme, *_ in self.rows:
            last[scheme] = max(number, last.get(scheme, 0))
        return min(last.values())

    def table(self) -> Table:
        """Means over seeds, each seed a batch of the intervals; common rounds only."""
        found: dict[tuple[int, str, str], list[float]] = {}
        for number, scheme, _, *values in self.rows:
            if number <= self.last_round:
                for name, value in zip(("accuracy", "loss", "error_m"), values, strict=True):
                    found.setdefault((number, scheme, name), []).append(value)
        table = Table("round")
        for key, each in found.items():
            table.cells[key] = Estimate(sum(each) / len(each), tuple(each))
        return table

    def write(self, path: Path) -> None:
        """Comment lines and CSV, replaced as a whole."""
        partial = path.with_name(f".{path.name}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", newline="", encoding="utf-8") as stream:
            stream.writelines(f"# {line}\n" for line in self.about)
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["round", "scheme", "seed", "accuracy", "loss", "error_m"])
            for number, scheme, seed, *values in self.rows:
                writer.writerow([number, scheme, seed, *(f"{v:.5g}" for v in values)])
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Of a written file."""
        lines = path.read_text(encoding="utf-8").splitlines()
        about = [line[2:] for line in lines if line.startswith("# ")]
        rows = csv.DictReader(line for line in lines if not line.startswith("#"))
        return cls(
            [
                (
                    int(r["round"]),
                    r["scheme"],
                    int(r["seed"]),
                    float(r["accuracy"]),
                    float(r["loss"]),
                    float(r["error_m"]),
                )
                for r in rows
            ],
            about,
        )


def recorded(name: str) -> Curves | None:
    """Curves shipped with the package, e.g. ``mnist``; None where there are none."""
    path = Path(__file__).parent / "data" / f"{name}.csv"
    return Curves.read(path) if path.is_file() else None


def record(
    dataset: str,
    *,
    rounds: int,
    seeds: int,
    seed: int,
    learners: Sequence[str] = tuple(LEARNERS),
    device: str = "cpu",
    seconds: float | None = None,
    progress: Callable[[int, Curves], None] | None = None,
    **settings: Any,
) -> Curves:
    """Train with all schemes side by side, round by round.

    Args:
        dataset: An image set.
        rounds: Rounds at most.
        seeds: Lanes: splits, first weights, places and channels.
        seed: Of them all.
        learners: Names in ``LEARNERS``.
        device: Torch device.
        seconds: Time after which no further round begins; None: unlimited.
        progress: Called after rounds that are kept, with their number.
        **settings: Of the federated process.

    Raises:
        SolverError: Training diverged.
    """
    begin, curves = time.monotonic(), Curves()
    streams = learning_streams(seeds, seed, device=device)
    with torch.no_grad():
        runs = {
            name: LEARNERS[name].process(rounds, dataset=dataset, **settings) for name in learners
        }
        states = {name: run.initial(streams) for name, run in runs.items()}
        for number in range(rounds + 1):
            if number:
                for name, run in runs.items():
                    plan = OtaFeelDecision(states[name].plan)
                    states[name] = run.advance(states[name], plan, streams.at_step(number)).state
                    demand_finite(states[name].loss, number, run.learning_rate)
            is_late = seconds is not None and time.monotonic() - begin > seconds
            if is_late or number == rounds or _is_kept(number):
                for name, state in states.items():
                    curves.add(number, name, state)
                if progress is not None:
                    progress(number, curves)
            if is_late:
                break
    return curves


def learning_streams(seeds: int, seed: int, *, device: str = "cpu") -> Streams:
    """Randomness of all lanes."""
    return Streams.from_seeds(lane_seeds(f"figures/ota_feel/learning/{seed}", seeds), device=device)


def _is_kept(number: int) -> bool:
    """Every round up to 20, then every fifth, so that files stay small."""
    return number <= 20 or number % 5 == 0


def _main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Record the training curves of Figs. 2 and 3.")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--folder", help="folder of the image files; default: as isac data")
    parser.add_argument("--out", type=Path, required=True, help="CSV file")
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, help="begin no round after this time")
    parser.add_argument("--learners", nargs="+", default=list(LEARNERS), choices=list(LEARNERS))
    for name in ("learning_rate", "train_images", "test_images", "batch_size", "local_steps"):
        kind = float if name == "learning_rate" else int
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind)
    given = parser.parse_args(arguments)
    settings = {
        name: value
        for name, value in vars(given).items()
        if value is not None
        and name not in ("out", "rounds", "seeds", "seed", "device", "seconds", "learners")
    }
    shown = {name: value for name, value in settings.items() if name != "folder"}
    begin = time.monotonic()

    def save(number: int, curves: Curves) -> None:
        spent = time.monotonic() - begin
        curves.about = [
            "Accuracy on the test images over rounds; target error of the joint schemes.",
            "Remade by: python -m baselines.ota_feel.figures.learning "
            + " ".join(f"--{k.replace('_', '-')} {v}" for k, v in shown.items())
            + f" --rounds {given.rounds} --seeds {given.seeds} --seed {given.seed}"
            + f" --learners {' '.join(given.learners)}",
            f"torch {torch.__version__} on {_device_name(given.device)}, {spent:.0f} s until "
            f"round {number}.",
        ]
        curves.write(given.out)
        last: dict[str, list[float]] = {r[1]: [] for r in curves.rows}
        for row in curves.rows:
            if row[0] == number:
                last[row[1]].append(row[3])
        line = ", ".join(f"{k} {sum(v) / len(v):.4f}" for k, v in last.items())
        sys.stdout.write(f"round {number} after {spent:.0f} s: {line}\n")
        sys.stdout.flush()

    record(
        rounds=given.rounds,
        seeds=given.seeds,
        seed=given.seed,
        learners=given.learners,
        device=given.device,
        seconds=given.seconds,
        progress=save,
        **settings,
    )


def _device_name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return "one CPU thread" if torch.get_num_threads() == 1 else "CPU"


if __name__ == "__main__":
    _main()
