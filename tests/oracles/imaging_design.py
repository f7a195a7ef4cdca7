"""Error bound of a probing covariance, from its definition, in NumPy loops."""

import numpy as np


def information(bs_channel, user_channel, covariance, gain):
    """Sum over users of E[conj(u) u^T] with u = g_k o G tx, times gain, (V, V)."""
    lit = (bs_channel @ covariance @ bs_channel.conj().T).conj()  # E[conj(v) v^T]
    total = np.zeros_like(lit)
    for g in user_channel:
        total += np.diag(g.conj()) @ lit @ np.diag(g)
    return gain * total


def error_bound(bs_channel, user_channel, precision, covariance, gain):
    """tr (J_0 + J)^-1."""
    whole = precision + information(bs_channel, user_channel, covariance, gain)
    return float(np.trace(np.linalg.inv(whole)).real)


def slope(bs_channel, user_channel, precision, covariance, gain, direction, step=1e-6):
    """Central difference of the error bound along a Hermitian direction."""
    up, down = (
        error_bound(bs_channel, user_channel, precision, covariance + s * direction, gain)
        for s in (step, -step)
    )
    return (up - down) / (2 * step)


def sinr(comm_channel, covariance, beam, noise):
    """|h^H w|^2 / (h^H W h + noise)."""
    heard = (comm_channel.conj() @ covariance @ comm_channel).real
    return abs(comm_channel.conj() @ beam) ** 2 / (heard + noise)


def random_decision(rng, comm_channel, power, min_sinr, noise, rank):
    """Random probing covariance with the cheapest matched beam, within power and SINR; or None."""
    size = len(comm_channel)
    root = rng.standard_normal((size, rank)) + 1j * rng.standard_normal((size, rank))
    shape = root @ root.conj().T
    shape /= np.trace(shape).real
    energy = np.linalg.norm(comm_channel) ** 2
    heard = (comm_channel.conj() @ shape @ comm_channel).real
    spare = power - min_sinr * noise / energy
    if spare <= 0:
        return None
    share = spare / (1 + min_sinr * heard / energy)
    beam = np.sqrt((power - share) / energy) * comm_channel
    return share * shape, beam
