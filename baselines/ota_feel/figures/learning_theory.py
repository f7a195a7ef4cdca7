"""Federated training on digits calculated apart: NumPy back-propagation and simulated waveforms.

Images, split, first weights and batches are those of :mod:`baselines.ota_feel.figures.learning`;
gradients, channels, precoders, transmission and noise are its own.
"""

import math

import numpy as np

from baselines.figures import Array, Estimate, Table
from baselines.ota_feel.figures import theory
from baselines.ota_feel.figures.learning import LEARNERS, Learner, learning_streams
from isac_gym.core.random import Streams
from isac_gym.data.images import load_images
from isac_gym.physics.data_split import batch_index

__all__ = ["APART", "measure_apart"]

APART = ("perfect", "joint", "joint-dft-max")
_STEPS, _BATCH, _RATE, _HIDDEN = 5, 32, 0.1, 32
_COHERENCE = 4
_FIRST_ROUNDS, _ROUNDS = 20, 2  # of the alternation where channels are new, and after
_ANTENNAS, _DEVICE_ANTENNAS, _NOISE_W, _FRAME = 16, 4, 0.1, 64


def measure_apart(*, rounds: int, seeds: int, lanes: int, seed: int) -> Table:
    """Accuracies over rounds of some schemes, the first of all seeds.

    Args:
        rounds: Rounds.
        seeds: Seeds that the package's own run has side by side.
        lanes: How many of them to calculate.
        seed: Of them all.
    """
    table, found = Table("round"), {name: [] for name in APART}
    for lane in range(lanes):
        world = _World(learning_streams(seeds, seed)[slice(lane, lane + 1)])
        for name in APART:
            found[name].append(world.train(LEARNERS[name], rounds, lane))
    for name, curves in found.items():
        for number, values in enumerate(np.array(curves).T):
            estimate = Estimate(float(values.mean()), tuple(values.tolist()))
            table.cells[number, name, "accuracy"] = estimate
    return table


class _World:
    """Images, split and first weights of one lane."""

    def __init__(self, streams: Streams) -> None:
        process = LEARNERS["perfect"].process(1, dataset="digits")
        state = process.initial(streams)
        images = load_images("digits")
        pixels = images.train.numpy().reshape(len(images.train), -1).astype(float)
        tests = images.test.numpy().reshape(len(images.test), -1).astype(float)
        mean, spread = pixels.mean(), pixels.std()
        self.images, self.tests = (pixels - mean) / spread, (tests - mean) / spread
        self.labels, self.test_labels = images.train_label.numpy(), images.test_label.numpy()
        self.streams, self.order = streams, state.order
        self.sizes = state.images
        self.start = state.weights[0].numpy().astype(float)
        self.devices = state.images.shape[1]
        place = state.instance
        score = theory.information(
            place.position[0].numpy(),
            place.target[0].numpy(),
            np.eye(_DEVICE_ANTENNAS)[None].repeat(self.devices, 0) / math.sqrt(_DEVICE_ANTENNAS),
            place.echo_noise_w[0].numpy(),
            frame_length=_FRAME,
            array="vertical",
            interference=True,
        )
        self.score = np.sqrt(np.trace(score, axis1=1, axis2=2))  # expected size of each score

    def train(self, learner: Learner, rounds: int, lane: int) -> list[float]:
        """Test accuracy before and after every round."""
        weights, air = self.start.copy(), _Air(self.score, learner, lane)
        found = [self._accuracy(weights)]
        for number in range(rounds):
            updates = self._updates(weights, number)
            is_perfect = learner.scheme == "perfect"
            weights = weights + (updates.mean(0) if is_perfect else air.average(updates, number))
            found.append(self._accuracy(weights))
        return found

    def _updates(self, weights: Array, number: int) -> Array:
        """What every device's descent changes, (K, d)."""
        offset = self.sizes.cumsum(-1)
        offset = offset.new_zeros(1, self.devices + 1).index_copy(
            1, offset.new_tensor(range(1, self.devices + 1)).long(), offset
        )
        index = batch_index(
            self.order,
            offset.int(),
            self.streams.at_step(number),
            steps=_STEPS,
            batch_size=_BATCH,
        )[:, 0].numpy()
        found = []
        for device in range(self.devices):
            own = weights.copy()
            for rows in index[:, device]:
                own -= _RATE * _gradient(own, self.images[rows], self.labels[rows])
            found.append(own - weights)
        return np.array(found)

    def _accuracy(self, weights: Array) -> float:
        _, out = _forward(weights, self.tests)
        return float((out.argmax(1) == self.test_labels).mean())


def _parts(weights: Array, inputs: int) -> tuple[Array, Array, Array, Array]:
    first, second = inputs * _HIDDEN, inputs * _HIDDEN + _HIDDEN
    classes = (len(weights) - second) // (_HIDDEN + 1)
    third = second + _HIDDEN * classes
    return (
        weights[:first].reshape(inputs, _HIDDEN),
        weights[first:second],
        weights[second:third].reshape(_HIDDEN, classes),
        weights[third:],
    )


def _forward(weights: Array, images: Array) -> tuple[Array, Array]:
    w1, b1, w2, b2 = _parts(weights, images.shape[1])
    hidden = np.maximum(images @ w1 + b1, 0)
    return hidden, hidden @ w2 + b2


def _gradient(weights: Array, images: Array, labels: Array) -> Array:
    """Of the mean cross-entropy."""
    _, _, w2, _ = _parts(weights, images.shape[1])
    hidden, out = _forward(weights, images)
    chance = np.exp(out - out.max(1, keepdims=True))
    chance /= chance.sum(1, keepdims=True)
    chance[np.arange(len(labels)), labels] -= 1
    chance /= len(labels)
    back = (chance @ w2.T) * (hidden > 0)
    parts = (images.T @ back, back.sum(0), hidden.T @ chance, chance.sum(0))
    return np.concatenate([p.ravel() for p in parts])


class _Air:
    """Channels, precoders and waveforms of one lane."""

    def __init__(self, score: Array, learner: Learner, lane: int) -> None:
        self.rng = np.random.default_rng([len(score), lane])
        self.devices, self.learner = len(score), learner
        self.score = score / score.sum()
        self.channel = np.empty(0, complex)
        self.precoder = np.empty(0, complex)

    def average(self, updates: Array, number: int) -> Array:
        """The server's average of updates (K, d) on stream 1, filler on stream 0."""
        mean, spread = updates.mean(1), updates.std(1)
        scale = np.full_like(spread, spread.max()) if self.learner.scaling == "max" else spread
        share = scale / scale.sum()
        first = self.score if number else np.full_like(share, 1 / self.devices)
        weight = np.stack([first, share], 1)
        self._design(weight, number)
        entries = (updates - mean[:, None]) / scale[:, None]
        size = entries.shape[1]
        entries = np.pad(entries, ((0, 0), (0, size % 2)))
        symbols = (entries[:, ::2] + 1j * entries[:, 1::2]) * math.sqrt(0.5)
        got = self._send(symbols, weight) * math.sqrt(2) * scale.sum() / self.devices
        back = np.stack([got.real, got.imag], 1).ravel()[:size]
        return back + mean.mean()

    def _design(self, weight: Array, number: int) -> None:
        is_new = number % _COHERENCE == 0
        if is_new:
            self.channel = self._draw(self.devices, _ANTENNAS, _DEVICE_ANTENNAS)
            start = self._draw(self.devices, _DEVICE_ANTENNAS, 2)
            size = np.sqrt((np.abs(start) ** 2).sum((1, 2), keepdims=True))
            self.precoder = start / size
        self.precoder = theory.alternated(
            self.channel,
            self.precoder,
            weight,
            np.ones(self.devices),
            _NOISE_W,
            _FIRST_ROUNDS if is_new else _ROUNDS,
            has_pulses=self.learner.pulse == "dft",
        )

    def _send(self, symbols: theory.Complex, weight: Array) -> theory.Complex:
        """Estimates of the sum on stream 1, symbol by symbol through the antennas."""
        length = symbols.shape[1]
        filler = self._draw(self.devices, length)
        both = np.stack([filler, symbols], 1)  # (K, 2, L)
        sent = self.precoder @ both
        time = np.arange(length)
        turn = 2j * math.pi * np.arange(self.devices)[:, None] * time / _FRAME
        pulse = np.exp(turn) if self.learner.pulse == "dft" else np.ones_like(turn)
        heard = np.einsum("knm,kml,kl->nl", self.channel, sent, pulse)
        heard = heard + math.sqrt(_NOISE_W) * self._draw(_ANTENNAS, length)
        gain = self.channel @ self.precoder
        total = _NOISE_W * np.eye(_ANTENNAS) + sum(g @ g.conj().T for g in gain)
        own = np.array(
            [np.linalg.solve(total, g[:, 1] * w) for g, w in zip(gain, weight[:, 1], strict=True)]
        )
        receiver = np.einsum("kn,kl->nl", own, pulse)
        return (receiver.conj() * heard).sum(0)

    def _draw(self, *shape: int) -> theory.Complex:
        """Circular Gaussian, unit variance."""
        parts = self.rng.standard_normal((2, *shape)) * math.sqrt(0.5)
        return parts[0] + 1j * parts[1]
