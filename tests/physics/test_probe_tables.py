"""Tables of squared differences give the errors of the probes, in any order of doing so."""

import pytest
import torch

from isac_gym.core.random import Streams
from isac_gym.physics.probe_tables import DifferenceTable
from isac_gym.physics.probes import kernel_ridge_predict, task_errors

_TRAIN, _HELD, _TONES = 40, 30, 9
_ROUNDING = {torch.float64: 1e-11, torch.float32: 1e-5}


def case(batch=2, *, dtype=torch.float64):
    """A table and the errors of any masks by the probe, in double."""
    streams = Streams.from_seed(3, batch)
    train = streams.normal("train", _TRAIN, _TONES, 4)
    held = streams.normal("held", _HELD, _TONES, 4)
    place = streams.normal("w", _TONES, 4, 5)
    labels = [torch.einsum("bjsc,bscy->bjy", x, place).sin() for x in (train, held)]
    table = DifferenceTable.build(train, labels[0], held, labels[1], dtype=dtype)

    def errors(mask):
        found = kernel_ridge_predict(train, labels[0], held, mask.to(train.dtype))
        return task_errors(found, labels[1])

    return table, errors


def masks(batch=2, rows=11):
    drawn = Streams.from_seed(4, batch).uniform("mask", rows, _TONES) < 0.5
    drawn[:, :, 0] = True
    return drawn


def test_errors__are_those_of_the_probe(dtype):
    table, errors = case(dtype=dtype)
    gap = table.errors(masks()).double() - errors(masks())
    assert gap.abs().max() < _ROUNDING[dtype]


@pytest.mark.parametrize("adds", [True, False])
def test_errors_moved__are_those_of_the_changed_masks(dtype, adds):
    table, errors = case(dtype=dtype)
    mask = torch.zeros(2, _TONES, dtype=torch.bool)
    mask[0, [1, 4, 6]] = mask[1, [0, 2, 8]] = True
    tone = (mask if adds else ~mask).to(torch.int8).argsort(dim=-1, stable=True)
    tone = tone[:, : 6 if adds else 3]
    after = mask[:, None].repeat(1, tone.shape[1], 1).scatter(2, tone[..., None], adds)
    share = torch.full((2,), 1 / 4 if adds else -1 / 2)
    ours = table.errors_moved(table.mean(mask), tone, share)
    assert (ours.double() - errors(after)).abs().max() < _ROUNDING[dtype]
    mean = table.moved(table.mean(mask), tone[:, 0], share)
    torch.testing.assert_close(mean, table.mean(after[:, 0]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("numbers", [1, 10_000, 1 << 24])
def test_errors__do_not_depend_on_chunk_or_neighbours(monkeypatch, numbers):
    table, errors = case(3)
    tone = torch.arange(_TONES).expand(3, -1)
    share = torch.full((3,), 0.5, dtype=torch.float64)
    wanted = errors(masks(3))
    mean = table.mean(masks(3)[:, 0])
    before = table.errors_moved(mean, tone, share)
    for name in ("_CACHED_CPU", "_SHARED_CPU"):
        monkeypatch.setattr(f"isac_gym.physics.probe_tables.{name}", numbers)
    torch.testing.assert_close(table.errors(masks(3)), wanted, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(table.errors_moved(mean, tone, share), before, rtol=1e-12, atol=0)
    alone = table.take(torch.tensor([1])).errors_moved(mean[1:2], tone[1:2], share[1:2])
    torch.testing.assert_close(alone, before[1:2], rtol=1e-12, atol=0)


def test_errors__nan_where_a_sample_is():
    table, _ = case()
    table.exponent[0, 3] = torch.nan
    mask = torch.zeros(2, 1, _TONES, dtype=torch.bool)
    mask[:, :, 3] = True
    errors = table.errors(mask)
    assert errors[0].isnan().all()
    assert errors[1].isfinite().all()
