"""Multi-user imaging from its definitions, in NumPy loops; nothing is shared with the package.

One lane at a time: bs_channel (V, N), user_channel (K, V), image (V,), transmit (L, N),
illumination (L, V), received (L, K).
"""

import math
from collections import deque

import numpy as np

SPEED_OF_LIGHT = 299_792_458.0


def complex_normal(rng, *shape):
    """CN(0, 1) samples."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / math.sqrt(2.0)


# --- signals ------------------------------------------------------------------------------------


def received(bs_channel, user_channel, image, transmit):
    """Noiseless y_k(t), (L, K), voxel by voxel."""
    out = np.zeros((len(transmit), len(user_channel)), complex)
    for t, tx in enumerate(transmit):
        for k, g in enumerate(user_channel):
            for n in range(len(image)):
                lit = sum(bs_channel[n, m] * tx[m] for m in range(len(tx)))
                out[t, k] += g[n] * image[n] * lit
    return out


def gains(bs_channel, user_channel, image, beam):
    """z_k, what user k receives of a data symbol 1, (K,)."""
    return received(bs_channel, user_channel, image, beam[None])[0]


def statistics(illumination, user_channel, samples):
    """Phi (V, V) and b (V,) as sums over samples and users of conj(u) u^T and conj(u) y."""
    size = illumination.shape[1]
    phi, b = np.zeros((size, size), complex), np.zeros(size, complex)
    for t, v in enumerate(illumination):
        for k, g in enumerate(user_channel):
            u = g * v
            phi += np.outer(u.conj(), u)
            b += u.conj() * samples[t, k]
    return phi, b


# --- bounds -------------------------------------------------------------------------------------


def fisher(illumination, user_channel, gain, noise):
    """Fisher matrix of Re x, Im x and of Re c, Im c of every symbol, (2V + 2L, 2V + 2L) real.

    Means are y_k(t) = u_k(t)^T x with d y / d c(t) = z_k; noise is circular of power ``noise``.
    """
    length, size = illumination.shape
    total = np.zeros((2 * (size + length),) * 2)
    for t, v in enumerate(illumination):
        for k, g in enumerate(user_channel):
            slope = np.zeros(2 * (size + length), complex)
            slope[:size], slope[size : 2 * size] = g * v, 1j * g * v
            slope[2 * size + t], slope[2 * size + length + t] = gain[k], 1j * gain[k]
            total += 2 / noise * np.outer(slope.conj(), slope).real
    return total


def bound(matrix, support, num_voxels, *, nuisance):
    """Trace of the inverse Fisher matrix over Re x, Im x of the support.

    Args:
        matrix: From :func:`fisher`.
        support: (V,) bool; other voxels are known.
        num_voxels: V.
        nuisance: Whether the symbols are unknown too.
    """
    image = np.concatenate([support, support])
    keep = np.concatenate([image, np.full(len(matrix) - 2 * num_voxels, nuisance)])
    inverse = np.linalg.inv(matrix[np.ix_(keep, keep)])
    return float(np.trace(inverse[: image.sum(), : image.sum()]))


def error_bound(bs_channel, user_channel, precision, covariance, gain):
    """f = tr (J_0 + gain sum_k E[conj(u) u^T])^-1 with u = g_k o G tx, entry by entry."""
    size, total = len(bs_channel), np.array(precision, complex)
    for n in range(size):
        for m in range(size):
            # E[conj(v_n) v_m] = conj(G_n W G_m^H).
            lit = np.conj(bs_channel[n] @ covariance @ bs_channel[m].conj())
            total[n, m] += gain * sum(np.conj(g[n]) * lit * g[m] for g in user_channel)
    return float(np.trace(np.linalg.inv(total)).real)


def sinr(comm_channel, probe, beam, noise):
    """|h^H w|^2 over the power of the columns of the probe at the user plus noise."""
    heard = sum(abs(np.vdot(comm_channel, column)) ** 2 for column in probe.T)
    return abs(np.vdot(comm_channel, beam)) ** 2 / (heard + noise)


# --- graphs -------------------------------------------------------------------------------------


def edges(position, num_edges):
    """Set of links (i, j), i < j: Kruskal's spanning tree, then the shortest other ones."""
    count = len(position)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    pairs.sort(key=lambda p: math.dist(position[p[0]], position[p[1]]))
    group, tree = list(range(count)), set()
    for i, j in pairs:
        old, new = group[i], group[j]
        if old != new:
            tree.add((i, j))
            group = [new if g == old else g for g in group]
    rest = [p for p in pairs if p not in tree]
    return tree | set(rest[: num_edges - len(tree)])


def adjacency(links, count):
    """(K, K) bool of a set of links."""
    out = np.zeros((count, count), bool)
    for i, j in links:
        out[i, j] = out[j, i] = True
    return out


def metropolis(graph):
    """a_lk = 1 / max(n_l, n_k) with n = links + 1; the rest on the diagonal."""
    count = len(graph)
    out = np.zeros((count, count))
    for l in range(count):
        for k in range(count):
            if l != k and graph[l, k]:
                out[l, k] = 1 / max(graph[l].sum() + 1, graph[k].sum() + 1)
    for k in range(count):
        out[k, k] = 1 - sum(out[l, k] for l in range(count) if l != k)
    return out


def hops(graph):
    """Shortest paths by breadth-first search, (K, K) int; K where there is none."""
    count = len(graph)
    out = np.full((count, count), count)
    for start in range(count):
        out[start, start], queue = 0, deque([start])
        while queue:
            here = queue.popleft()
            for there in range(count):
                if graph[here, there] and out[start, there] == count and there != start:
                    out[start, there] = out[start, here] + 1
                    queue.append(there)
    return out


# --- geometry -----------------------------------------------------------------------------------


def voxel_centres(shape, edge):
    """Centres of the voxels, (V, 3) m, z fastest, the middle of the region at 0."""
    return np.array(
        [
            [edge * (i - (size - 1) / 2) for i, size in zip(index, shape, strict=True)]
            for index in np.ndindex(*shape)
        ]
    )


def array_elements(num_antennas, carrier_hz, distance):
    """Square array half a wavelength apart at x = -distance, (N, 3) m, z fastest."""
    side, half = math.isqrt(num_antennas), SPEED_OF_LIGHT / carrier_hz / 2
    middle = (side - 1) / 2
    return np.array(
        [
            [-distance, half * (i - middle), half * (j - middle)]
            for i in range(side)
            for j in range(side)
        ]
    )


def spherical(here, there, reference, carrier_hz):
    """reference / d exp(-j 2 pi d / lambda) from rows of ``there`` to rows of ``here``."""
    out = np.zeros((len(here), len(there)), complex)
    for i, a in enumerate(here):
        for j, b in enumerate(there):
            d = math.dist(a, b)
            out[i, j] = reference / d * np.exp(-2j * math.pi * d * carrier_hz / SPEED_OF_LIGHT)
    return out


# --- metrics ------------------------------------------------------------------------------------


def scores(image, estimate, threshold):
    """msd, msd_user, disagreement, f1, iou of estimates (K, V), user by user, voxel by voxel."""
    user = [sum(abs(e - x) ** 2 for e, x in zip(row, image, strict=True)) for row in estimate]
    middle = [sum(column) / len(estimate) for column in estimate.T]
    apart = [sum(abs(e - m) ** 2 for e, m in zip(row, middle, strict=True)) for row in estimate]
    found = {n for n, m in enumerate(middle) if abs(m) > threshold}
    true = {n for n, x in enumerate(image) if abs(x) > 0}
    hit, extra, lost = len(found & true), len(found - true), len(true - found)
    return {
        "msd": sum(user) / len(user),
        "msd_user": np.array(user),
        "disagreement": sum(apart) / len(apart),
        "f1": 2 * hit / (2 * hit + extra + lost),
        "iou": hit / (hit + extra + lost),
    }
