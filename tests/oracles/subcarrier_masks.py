"""Masks of subcarriers: what they predict, their errors and the nearest allowed one, by loops.

One room at a time, features (N, S, C), labels (N, Y), masks of zeros and ones (S,).
"""

import itertools
import math

import numpy as np


def distance(x, y, mask):
    """Mean squared difference over the features of the selected tones."""
    chosen = [s for s in range(len(mask)) if mask[s]]
    total = sum((x[s, c] - y[s, c]) ** 2 for s in chosen for c in range(x.shape[1]))
    return total / (x.shape[1] * max(len(chosen), 1))


def kernel_ridge(train, label, held, mask, width=0.3, ridge=0.2):
    """Predictions (H, Y) by the definition: one system of equations, one kernel at a time."""
    gram = [[math.exp(-width * distance(x, y, mask)) for y in train] for x in train]
    dual = np.linalg.solve(np.array(gram) + ridge * np.eye(len(train)), label)
    cross = [[math.exp(-width * distance(x, y, mask)) for y in train] for x in held]
    return np.array(cross) @ dual


def soft_neighbours(train, label, held, mask, bandwidth=0.1):
    """Predictions (H, Y): weighted means of the training labels."""
    out = []
    for x in held:
        apart = [distance(x, y, mask) / bandwidth for y in train]
        share = [math.exp(min(apart) - a) for a in apart]
        out.append(sum(w * y for w, y in zip(share, label, strict=True)) / sum(share))
    return np.array(out)


def errors(prediction, label, mean, scale):
    """Both errors, rms error of the place in m and accuracy, from raw labels.

    Args:
        prediction: (H, 5) scaled.
        label: (H, 5) scaled.
        mean: Of the raw training labels, (5,).
        scale: Raw label per unit, (5,).
    """
    guess, truth = prediction * scale + mean, label * scale + mean
    out = []
    for entries in (range(2), range(2, label.shape[1])):
        wrong = sum((guess[h, y] - truth[h, y]) ** 2 for h in range(len(label)) for y in entries)
        still = sum((mean[y] - truth[h, y]) ** 2 for h in range(len(label)) for y in entries)
        out.append(wrong / still)
    metres = sum(math.dist(g[:2], t[:2]) ** 2 for g, t in zip(guess, truth, strict=True))
    right = sum(np.argmax(g[2:]) == np.argmax(t[2:]) for g, t in zip(guess, truth, strict=True))
    return *out, math.sqrt(metres / len(label)), right / len(label)


def allowed(size, least, most):
    """All masks with an allowed number of ones."""
    for count in range(least, most + 1):
        for chosen in itertools.combinations(range(size), count):
            mask = np.zeros(size)
            mask[list(chosen)] = 1
            yield mask


def nearest(scores, least, most):
    """Squared distance of the nearest allowed mask, and all masks at that distance."""
    masks = list(allowed(len(scores), least, most))
    gaps = [sum((m - v) ** 2 for m, v in zip(mask, scores, strict=True)) for mask in masks]
    best = min(gaps)
    return best, [m for m, g in zip(masks, gaps, strict=True) if g <= best + 1e-12]
