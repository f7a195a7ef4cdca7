r"""What a set of tones is worth to networks: trained anew for it, or once for all random sets.

``retrain`` trains perceptrons from scratch for every set, seed and task; the inputs of the other
tones are left out, so a set of k tones costs k / S of a full network. ``masknet_errors`` trains one
network per task and seed with a random set in every window, the set itself as further inputs, and
asks it about any set.

Both are judges, not solvers: ``held`` may be the validation or the scored windows.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from baselines.subcarrier_selection.networks import Perceptrons, batches, cosine, perceptrons
from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.random import Streams
from isac_gym.physics.probes import task_errors

__all__ = ["HIDDEN", "masknet_errors", "retrain"]

HIDDEN = (64, 32)
_BATCH = 128
_RATE, _DECAY = 3e-3, 3.0  # a decay of 0.3 over-fits: error .55 instead of .44 at 64 tones
_REPLICAS_AT_ONCE = 24  # on a CPU: weights and moments stay in the cache
_STEP = 8  # widths of networks are multiples of so many tones, or all there are
_WATCH = 25  # steps between two looks at the validation windows


def retrain(
    train: Tensor,
    train_label: Tensor,
    held: Tensor,
    held_label: Tensor,
    mask: Tensor,
    *,
    seeds: Sequence[int] = (0,),
    steps: int = 200,
    val: tuple[Tensor, Tensor] | None = None,
    learning_rate: float = _RATE,
    weight_decay: float = _DECAY,
    num_location: int = 2,
) -> Tensor:
    """Held-out errors of networks trained for each set alone: place, sensing; (B, Q, Z, 2).

    All rooms share the seeds' mini-batches, and sets of about equal size their first weights
    (common random numbers). A set's errors do not depend on the others.

    Args:
        train: Features (B, J, S, C).
        train_label: Labels (B, J, Y).
        held: Features of the windows that judge, (B, H, S, C).
        held_label: Their labels, (B, H, Y).
        mask: Sets, (B, Q, S) bool; a set without tones has the error of the mean.
        seeds: Z seeds >= 0.
        steps: Mini-batches of up to 128 windows, >= 1.
        val: Features and labels for early stopping, task by task: every 25 steps the weights are
            kept if they are the best so far there. None: the last weights count.
        learning_rate: First step of Adam, > 0; falls as a cosine.
        weight_decay: Decoupled, >= 0.
        num_location: Leading entries of a label that are the place.
    """
    _check(mask, train, steps)
    streams = Streams.from_seeds(seeds, device=train.device)
    order = batches(streams, train.shape[1], size=_BATCH, steps=steps)
    lanes = len(seeds)
    at_once = max(1, _REPLICAS_AT_ONCE // lanes) if train.device.type == "cpu" else 256
    found = held_label.new_empty(*mask.shape[:2], lanes, *held_label.shape[1:])
    for room in range(len(train)):
        x, y = train[room].float(), train_label[room].float()
        for some, index, gate in _alike(mask[room], at_once):
            gate = gate.to(x.dtype).repeat_interleave(lanes, 0)
            trained = _train(
                _inputs(x, index),
                y,
                order,
                streams,
                tasks=_tasks(num_location),
                gate=gate,
                rates=(learning_rate, weight_decay),
                watch=None
                if val is None
                else (_held(val[0][room], index, lanes), val[1][room].float()),
            )
            tested = _held(held[room], index, lanes)
            out = torch.cat([network.predict(tested, gate) for network in trained], -1)
            found[room, some] = out.to(found.dtype).unflatten(0, (-1, lanes))
    errors = task_errors(found.flatten(1, 2), held_label, num_location=num_location)
    return errors.unflatten(1, found.shape[1:3])


def masknet_errors(
    train: Tensor,
    train_label: Tensor,
    held: Tensor,
    held_label: Tensor,
    mask: Tensor,
    *,
    least: int,
    most: int,
    seeds: Sequence[int] = (0,),
    steps: int = 1200,
    learning_rate: float = _RATE,
    weight_decay: float = _DECAY,
    num_location: int = 2,
) -> Tensor:
    """Held-out errors of networks trained once with random sets: place, sensing; (B, Q, Z, 2).

    Args:
        train: Features (B, J, S, C).
        train_label: Labels (B, J, Y).
        held: Features of the windows that judge, (B, H, S, C).
        held_label: Their labels, (B, H, Y).
        mask: Sets, (B, Q, S) bool.
        least: Fewest tones of a random set, >= 1.
        most: Most tones of a random set.
        seeds: Z seeds >= 0.
        steps: Mini-batches of up to 128 windows, >= 1.
        learning_rate: First step of Adam, > 0; falls as a cosine.
        weight_decay: Decoupled, >= 0.
        num_location: Leading entries of a label that are the place.
    """
    _check(mask, train, steps)
    tones, rooms, lanes = mask.shape[-1], len(train), len(seeds)
    if not 1 <= least <= most <= tones:
        raise ScenarioError(
            f"most must be in [least, {tones}] and least >= 1, got {most}, {least}."
        )
    streams = Streams.from_seeds(seeds, device=train.device)
    order = batches(streams, train.shape[1], size=_BATCH, steps=steps)
    x, y = train.float(), train_label.float()
    networks = [
        perceptrons(
            x[0, 0].numel() + tones,
            y[..., part].shape[-1],
            hidden=HIDDEN,
            streams=streams,
            repeat=rooms,
            number=task,
        )
        for task, part in enumerate(_tasks(num_location))
    ]
    for step in range(steps):
        rows = order[step]
        scores = streams.at_step(step).uniform("sets", rows.shape[1], tones, dtype=x.dtype)
        count = streams.at_step(step).integers("count", rows.shape[1], high=most - least + 1)
        rank = scores.argsort(dim=-1, stable=True).argsort(dim=-1)
        drawn = rank < count[..., None] + least  # (Z, n, S)
        seen = _masked(x[:, rows], drawn[None]).flatten(0, 1)
        for network, part in zip(networks, _tasks(num_location), strict=True):
            network.gradient(seen, y[:, rows][..., part].flatten(0, 1))
            network.step(learning_rate * cosine(step, steps), decay=weight_decay)
    found = []
    for some in mask.unbind(1):
        seen = _masked(held.float(), some[:, None]).repeat_interleave(lanes, 0)
        out = torch.cat([network.predict(seen) for network in networks], -1)
        found.append(out.to(held_label.dtype).unflatten(0, (rooms, lanes)))
    out = torch.stack(found, 1)  # (B, Q, Z, H, Y)
    errors = task_errors(out.flatten(1, 2), held_label, num_location=num_location)
    return errors.unflatten(1, out.shape[1:3])


def _check(mask: Tensor, train: Tensor, steps: int) -> None:
    if mask.dtype != torch.bool or mask.ndim != 3 or mask.shape[::2] != train.shape[::2]:
        raise ShapeError(
            f"mask: {mask.dtype} of shape {tuple(mask.shape)}, expected bool of shape "
            f"({len(train)}, Q, {train.shape[2]})."
        )
    if steps < 1:
        raise ScenarioError(f"steps must be >= 1, got {steps}.")


def _tasks(num_location: int) -> tuple[slice, slice]:
    """Entries of a label that are the place, and the others."""
    return slice(None, num_location), slice(num_location, None)


def _alike(mask: Tensor, at_once: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Sets of equal width among (Q, S), some at a time: which, their tones (q, k), the gate (q, k).

    The width is a set's own size, rounded up: what stands beside it must not change its networks.
    The tones that fill it up are shut.
    """
    order = mask.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
    steps = (mask.sum(-1) + _STEP - 1) // _STEP
    for number in steps.unique().tolist():
        for some in (steps == number).nonzero()[:, 0].split(at_once):
            index = order[some, : _STEP * max(1, number)]
            yield some, index, mask[some].gather(-1, index)


def _inputs(x: Tensor, index: Tensor) -> Tensor:
    """Features (n, S, C) of the tones ``index`` (q, k) of each set, (q, n, k C)."""
    return x[:, index].permute(1, 0, 2, 3).flatten(2)


def _held(x: Tensor, index: Tensor, lanes: int) -> Tensor:
    """As :func:`_inputs`, once for each seed, (q Z, n, k C)."""
    return _inputs(x.float(), index).repeat_interleave(lanes, 0)


def _masked(x: Tensor, mask: Tensor) -> Tensor:
    """Gated features and the gate, (..., n, S C + S), of x (..., n, S, C) and mask (..., n, S)."""
    gate = mask.to(x.dtype).expand(x.shape[:-1])
    return torch.cat([(x * gate[..., None]).flatten(-2), gate], -1)


def _train(
    inputs: Tensor,
    label: Tensor,
    order: Tensor,
    streams: Streams,
    *,
    tasks: tuple[slice, slice],
    gate: Tensor,
    rates: tuple[float, float],
    watch: tuple[Tensor, Tensor] | None,
) -> list[Perceptrons]:
    """Networks of place and sensing for inputs (q, J, k C), labels (J, Y) and gate (q Z, k)."""
    steps = len(order)
    networks = [
        perceptrons(
            inputs.shape[-1],
            label[:, part].shape[-1],
            hidden=HIDDEN,
            streams=streams,
            repeat=len(inputs),
            number=task,
        )
        for task, part in enumerate(tasks)
    ]
    best = [network.weights.clone() for network in networks]
    least = [gate.new_full((len(gate),), torch.inf) for _ in networks]
    for step, rows in enumerate(order):
        x = inputs[:, rows].flatten(0, 1)
        looks = watch is not None and (step % _WATCH == _WATCH - 1 or step == steps - 1)
        for task, part in enumerate(tasks):
            network = networks[task]
            y = label[rows][..., part].repeat(len(inputs), 1, 1)
            network.gradient(x, y, gate)
            network.step(rates[0] * cosine(step, steps), decay=rates[1])
            if looks and watch is not None:
                loss = network.loss(watch[0], watch[1][:, part], gate)
                is_best = loss < least[task]
                least[task] = torch.where(is_best, loss, least[task])
                best[task] = torch.where(is_best[:, None], network.weights, best[task])
    if watch is not None:
        for network, weights in zip(networks, best, strict=True):
            network.weights.copy_(weights)
    return networks
