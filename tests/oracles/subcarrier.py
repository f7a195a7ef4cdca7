"""Channel state information and its features from their definitions, in NumPy loops.

Nothing is shared with the package: wall images by mirroring one wall after the other, paths one by
one, packets one by one, subcarriers one by one.
"""

import cmath
import itertools
import math

import numpy as np
from scipy.optimize import minimize

C_MPS = 299_792_458.0


# --- paths --------------------------------------------------------------------------------------


def mirrored(node, room, order):
    """Images of a node up to ``order`` reflections: {rounded position: (position, bounces)}."""
    found = {key_of(node): (np.array(node, float), 0)}
    last = [np.array(node, float)]
    for bounce in range(1, order + 1):
        fresh = []
        for place in last:
            for axis in (0, 1):
                for wall in (0.0, room[axis]):
                    image = place.copy()
                    image[axis] = 2 * wall - place[axis]
                    if key_of(image) not in found:
                        found[key_of(image)] = (image, bounce)
                        fresh.append(image)
        last = fresh
    return found


def key_of(place):
    return tuple(round(float(x), 9) for x in place)


def shortest_bounce(sender, receiver, walls):
    """Length of the shortest path that touches the walls, each an (axis, coordinate), in order.

    By Fermat's principle this is the reflected path: a convex problem in the points of contact.
    """

    def length(free):
        path = [np.array(sender, float)]
        for (axis, wall), (along, up) in zip(walls, free.reshape(-1, 2), strict=True):
            path.append(np.array([wall, along, up] if axis == 0 else [along, wall, up]))
        path.append(np.array(receiver, float))
        return sum(math.dist(a, b) for a, b in itertools.pairwise(path))

    start = np.full(2 * len(walls), 1.0)
    return float(minimize(length, start, method="BFGS", options={"gtol": 1e-9}).fun)


def tones(carrier, bandwidth, count):
    """Frequencies of a link."""
    return [carrier + (k - (count - 1) / 2) * bandwidth / count for k in range(count)]


def wave(gain, frequency, length):
    """gain exp(-j 2 pi f d / c)."""
    return gain * cmath.exp(-2j * math.pi * ((frequency * length / C_MPS) % 1.0))


def walls_response(sender, receiver, room, reflection, order, frequencies):
    """Direct path and wall reflections, (K,)."""
    out = np.zeros(len(frequencies), complex)
    for image, bounces in mirrored(sender, room, order).values():
        distance = math.dist(image, receiver)
        for k, f in enumerate(frequencies):
            out[k] += wave(
                (-reflection) ** bounces * (C_MPS / f) / (4 * math.pi * distance), f, distance
            )
    return out


def scattered(point, sender, receiver, rcs, carrier, shift=0.0):
    """Gain and length of a bistatic path; the point has moved so that the path is longer."""
    d1, d2 = math.dist(point, sender), math.dist(point, receiver)
    gain = math.sqrt(rcs) * (C_MPS / carrier) / (4 * math.pi) ** 1.5
    return gain / (max(d1, 0.3) * max(d2, 0.3)), d1 + d2 + shift


def stretch(point, sender, receiver, step=1e-6):
    """Growth of the path per metre away along the bisector, by central differences."""
    a = (np.array(point) - sender) / math.dist(point, sender)
    b = (np.array(point) - receiver) / math.dist(point, receiver)
    away = (a + b) / np.linalg.norm(a + b)

    def length(t):
        q = np.array(point) + t * away
        return math.dist(q, sender) + math.dist(q, receiver)

    return (length(step) - length(-step)) / (2 * step)


def person_response(place, height, rcs, motion, nodes, carrier, frequencies):
    """What a person adds with the direct bistatic path, (T, P, K)."""
    point = [*place, height]
    out = np.zeros((len(motion), len(nodes) - 1, len(frequencies)), complex)
    for p, receiver in enumerate(nodes[1:]):
        factor = stretch(point, nodes[0], receiver)
        for t, u in enumerate(motion):
            gain, length = scattered(point, nodes[0], receiver, rcs, carrier, factor * u)
            for k, f in enumerate(frequencies):
                out[t, p, k] = wave(gain, f, length)
    return out


# --- features -----------------------------------------------------------------------------------


def window(csi):
    """(P K, 2) of one window (T, P, K)."""
    packets, links, count = csi.shape
    out = np.zeros((links * count, 2))
    for p in range(links):
        for k in range(count):
            level = [20 * math.log10(max(abs(csi[t, p, k]), 1e-9)) for t in range(packets)]
            mean = sum(level) / packets
            deviation = math.sqrt(sum((x - mean) ** 2 for x in level) / packets)
            out[p * count + k] = mean, math.log10(max(deviation, 1e-6))
    return out


def calibrated(csi, empty):
    """(P K, 4) of one window (T, P, K) and the empty room (P, K)."""
    packets, links, count = csi.shape
    out = np.zeros((links * count, 4))
    for p in range(links):
        energy = sum(abs(h) ** 2 for h in empty[p])
        rest = np.zeros((packets, count), complex)
        for t in range(packets):
            gain = sum(csi[t, p, k] * empty[p, k].conjugate() for k in range(count)) / energy
            for k in range(count):
                rest[t, k] = csi[t, p, k] / gain - empty[p, k]
        for k in range(count):
            mean = sum(rest[:, k]) / packets
            spread = sum(abs(x - mean) ** 2 for x in rest[:, k]) / packets
            upper = max(k, 1)
            turn = sum(rest[t, upper] * rest[t, upper - 1].conjugate() for t in range(packets))
            angle = cmath.phase(turn)
            scale = energy / count
            out[p * count + k] = (
                10 * math.log10(abs(mean) ** 2 / scale + 1e-6),
                10 * math.log10(spread / scale + 1e-6),
                math.cos(angle),
                math.sin(angle),
            )
    return out


def spectrum(csi, rate, frequencies):
    """(P K, F) of one window (T, P, K): Hann periodogram of the level, shares of its sum."""
    packets, links, count = csi.shape
    out = np.zeros((links * count, len(frequencies)))
    for p in range(links):
        for k in range(count):
            level = [20 * math.log10(max(abs(csi[t, p, k]), 1e-9)) for t in range(packets)]
            mean = sum(level) / packets
            for n, f in enumerate(frequencies):
                total = 0j
                for t in range(packets):
                    taper = math.sin(math.pi * (t + 0.5) / packets) ** 2
                    total += taper * (level[t] - mean) * cmath.exp(-2j * math.pi * f * t / rate)
                out[p * count + k, n] = abs(total) ** 2
            out[p * count + k] /= out[p * count + k].sum()
    return out


def standardised(features, train):
    """(N, S, C) by the training statistics, clipped to +-5."""
    out = np.zeros_like(features)
    for s in range(features.shape[1]):
        for c in range(features.shape[2]):
            column = train[:, s, c]
            mean = sum(column) / len(column)
            deviation = math.sqrt(sum((x - mean) ** 2 for x in column) / len(column))
            for n, x in enumerate(features[:, s, c]):
                out[n, s, c] = min(max((x - mean) / max(deviation, 1e-6), -5.0), 5.0)
    return out
