"""Every mask of 16 tones in several rooms: what is best, and how much selection matters.

Scoring all 32,318 masks takes about a minute per room, so the result is stored next to this module
and recomputed by

    python -m baselines.subcarrier_selection.figures.enumeration --rooms 5 --seed 11
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from baselines.figures import write_csv
from baselines.subcarrier_selection.exhaustive import all_masks
from baselines.subcarrier_selection.figures.draws import PRESETS, Rooms, spearman
from baselines.subcarrier_selection.probe_relaxation import relaxed_probe
from isac_gym.physics.convex_probe import convex_probe_value, probe_task
from isac_gym.physics.probes import kernel_ridge_predict, task_errors
from isac_gym.problems.subcarrier_selection.records import SubcarrierInstance

__all__ = ["RECORD", "Enumerated", "enumerate_room", "recorded"]

RECORD = Path(__file__).parent / "data" / "enumerated.csv"
_TONES = 16
_REFINED = 256  # best masks of each split that are scored in double precision


@dataclass(frozen=True)
class Enumerated:
    """What all masks of one room gave; errors are those of kernel ridge unless named otherwise.

    Attributes:
        seed: Seed of the rooms.
        room: Index of the room.
        val_best: Least validation error.
        val_1: Its 1 % quantile.
        val_median: Its median.
        val_99: Its 99 % quantile.
        val_all: Validation error of all tones.
        val_mask: Best mask, bit j for tone j.
        score_best: Least error on the scored windows.
        score_median: Its median.
        score_all: Error of all tones there.
        score_mask: Best mask there.
        val_best_on_score: Error of ``val_mask`` on the scored windows.
        val_best_percentile: Share of masks that are better than ``val_mask`` there.
        splits_agree: Spearman's correlation of both errors over all masks.
        tasks_agree: Of place and activity on the scored windows.
        probe_best: Least in-sample error of the convex probe.
        probe_mean: Its mean over the largest masks.
        probe_bound: Bound of its relaxation.
    """

    seed: int
    room: int
    val_best: float
    val_1: float
    val_median: float
    val_99: float
    val_all: float
    val_mask: int
    score_best: float
    score_median: float
    score_all: float
    score_mask: int
    val_best_on_score: float
    val_best_percentile: float
    splits_agree: float
    tasks_agree: float
    probe_best: float
    probe_mean: float
    probe_bound: float

    @property
    def best(self) -> Tensor:
        """Best mask on the validation windows, (S,) bool."""
        return _bits(torch.tensor([self.val_mask]), _TONES)[0]


def enumerate_room(rooms: Rooms, index: int, *, seed: int) -> Enumerated:
    """Score every mask in one of the rooms."""
    i = rooms.instance[index : index + 1]
    masks = all_masks(_TONES, *rooms.limits)
    val, score = _all_errors(i, masks)  # (N, 2)
    val_all, score_all = _errors(i, rooms.everything[0])
    v, s = val.mean(-1), score.mean(-1)
    first = v.argmin()
    largest = masks.sum(-1) == rooms.limits[1]
    probe = convex_probe_value(i.train, i.train_label, masks[None, largest].double())[0]
    bound = relaxed_probe(
        probe_task(i.train, i.train_label), _TONES, rooms.limits[1], iterations=2000, tolerance=1e-6
    )
    low, middle, high = v.quantile(v.new_tensor([0.01, 0.5, 0.99])).tolist()
    return Enumerated(
        seed=seed,
        room=index,
        val_best=v.amin().item(),
        val_1=low,
        val_median=middle,
        val_99=high,
        val_all=val_all.mean().item(),
        val_mask=_number(masks[first]),
        score_best=s.amin().item(),
        score_median=s.median().item(),
        score_all=score_all.mean().item(),
        score_mask=_number(masks[s.argmin()]),
        val_best_on_score=s[first].item(),
        val_best_percentile=(s < s[first]).double().mean().item(),
        splits_agree=spearman(v, s),
        tasks_agree=spearman(score[:, 0], score[:, 1]),
        probe_best=probe.amin().item(),
        probe_mean=probe.mean().item(),
        probe_bound=bound.lower.item(),
    )


def recorded(path: Path = RECORD) -> list[Enumerated]:
    """The stored rooms; none if there is no file."""
    if not path.exists():
        return []
    kinds = {field.name: field.type for field in fields(Enumerated)}
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [
        Enumerated(**{name: kinds[name](row[name]) for name in kinds})  # type: ignore[operator]
        for row in rows
    ]


def _all_errors(i: SubcarrierInstance, masks: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`_errors`; in single precision but for the masks that may be best."""
    found = _errors(i.to(dtype=torch.float32), masks)
    val, score = (each.double() for each in found)
    top = torch.cat([each.mean(-1).topk(_REFINED, largest=False).indices for each in (val, score)])
    val[top], score[top] = _errors(i, masks[top])
    return val, score


def _errors(i: SubcarrierInstance, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Validation and scored errors (N, 2) of masks (N, S) in one room, by one factor each."""
    held = torch.cat([i.val, i.score], 1)
    parts = []
    for some in masks.to(i.dtype).split(2048):
        out = kernel_ridge_predict(i.train, i.train_label, held, some[None])
        val, score = out.split([i.val.shape[1], i.score.shape[1]], 2)
        parts.append((task_errors(val, i.val_label)[0], task_errors(score, i.score_label)[0]))
    val, score = (torch.cat(each) for each in zip(*parts, strict=True))
    return val, score


def _bits(number: Tensor, tones: int) -> Tensor:
    return (number[:, None] >> torch.arange(tones)) & 1 == 1


def _number(mask: Tensor) -> int:
    return int((mask.to(torch.int64) << torch.arange(len(mask))).sum())


def _main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Score every mask of 16 tones in several rooms.")
    parser.add_argument("--rooms", type=int, default=5)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--out", type=Path, default=RECORD)
    given = parser.parse_args(arguments)
    rooms = Rooms.sample(rooms=given.rooms, seed=given.seed, preset=PRESETS[_TONES])
    found: list[Enumerated] = []
    for index in range(given.rooms):
        found.append(enumerate_room(rooms, index, seed=given.seed))
        header = [field.name for field in fields(Enumerated)]
        write_csv(given.out, header, [astuple(each) for each in found])
        sys.stdout.write(f"room {index}: best {found[-1].val_best:.4f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
