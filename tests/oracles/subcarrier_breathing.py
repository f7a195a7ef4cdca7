"""Breathing rates by loops: periodogram, peak of a parabola, error of a mask."""

import cmath
import itertools
import math

import numpy as np


def periodogram(level_db, packet_rate_hz, frequency_hz):
    """Hann periodogram (F,) of one subcarrier's level (T,) in dB, divided by its sum."""
    count, mean = len(level_db), sum(level_db) / len(level_db)
    power = []
    for f in frequency_hz:
        total = 0
        for t, level in enumerate(level_db):
            window = math.sin(math.pi * (t + 0.5) / count) ** 2
            total += window * (level - mean) * cmath.exp(-2j * math.pi * f * t / packet_rate_hz)
        power.append(abs(total) ** 2)
    return np.array(power) / sum(power)


def peak(power, frequency_hz):
    """Peak (Hz) of the parabola through the largest entry and its neighbours."""
    top = max(range(len(power)), key=lambda k: power[k])
    if top in (0, len(power) - 1):
        return frequency_hz[top]
    x, y = frequency_hz[top - 1 : top + 2], power[top - 1 : top + 2]
    a, b, _ = np.polyfit(x - x[1], y / y[1], 2)
    return frequency_hz[top] if a == 0 else x[1] - b / (2 * a)


def mask_error(spectrum, rate_hz, mask, frequency_hz):
    """Mean absolute error (Hz) over windows (H, S, F): spectra of selected tones are added up."""
    misses = []
    for window, rate in zip(spectrum, rate_hz, strict=True):
        power = np.zeros(len(frequency_hz))
        for tone in range(len(mask)):
            if mask[tone]:
                power = power + window[tone]
        misses.append(abs(peak(power, frequency_hz) - rate))
    return sum(misses) / len(misses)


def best_mask(spectrum, rate_hz, frequency_hz, least, most):
    """Error and mask of the best of all selections, one after another."""
    tones, best = spectrum.shape[1], (math.inf, None)
    for size in range(least, most + 1):
        for chosen in itertools.combinations(range(tones), size):
            mask = [tone in chosen for tone in range(tones)]
            best = min(best, (mask_error(spectrum, rate_hz, mask, frequency_hz), mask))
    return best
