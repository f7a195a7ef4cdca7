"""Which tones of an 802.11 channel a capture device reports, and where a channel lies.

Sources: IEEE 802.11-2016, Tables 9-54 (grouping), 19-6, 21-5 and sections 19.3.9, 21.3.10 (tones
in use and pilots), Annex E (channel numbers). A tone is counted from the carrier, 312.5 kHz apart.
"""

import numpy as np

from isac_gym.core.errors import DataFormatError

__all__ = [
    "SPACING_HZ",
    "channel_hz",
    "fft_tones",
    "grouped_tones",
    "legacy_null",
    "used_tones",
    "wide_null",
]

SPACING_HZ = 312.5e3
_EDGE = {64: (28, 0), 128: (58, 1), 256: (122, 1)}  # last tone in use; tones around the carrier
_PILOTS = {
    64: (7, 21),
    128: (11, 25, 53),
    256: (11, 39, 75, 103),
}


def grouped_tones(bandwidth_mhz: int) -> np.ndarray:
    """The 30 tones of an Intel 5300: every second of a 20 MHz, every fourth of a 40 MHz channel."""
    if bandwidth_mhz == 20:
        return np.r_[-28:-1:2, -1, 1:28:2, 28]
    return np.r_[-58:-1:4, 2:59:4]


def used_tones(count: int) -> np.ndarray:
    """The 56 (20 MHz) or 114 (40 MHz) tones in use, as an Atheros device reports them."""
    first, last = (1, 28) if count == 56 else (2, 58)
    return np.r_[-last : -first + 1, first : last + 1]


def fft_tones(count: int) -> np.ndarray:
    """All tones of a Fourier transform of even size, ascending."""
    return np.arange(-count // 2, count // 2)


def wide_null(count: int) -> np.ndarray:
    """(count,) bool: guard, carrier and pilot tones; 64, 128, 256 tones for 20, 40, 80 MHz."""
    tone = np.abs(fft_tones(count))
    last, middle = _EDGE[count]
    return (tone > last) | (tone <= middle) | np.isin(tone, _PILOTS[count])


def legacy_null() -> np.ndarray:
    """(64,) bool: what the legacy training field leaves empty, all but tones 1 to 26 each side."""
    tone = np.abs(fft_tones(64))
    return (tone > 26) | (tone == 0)


def channel_hz(channel: int, *, where: str) -> float:
    """Centre of a channel number of the 2.4 GHz (1 to 14) or 5 GHz band (32 to 177), Hz.

    Args:
        channel: The number.
        where: Which file and field said so, for the message.

    Raises:
        DataFormatError: No such channel.
    """
    if channel == 14:
        return 2484e6
    if 1 <= channel <= 13:
        return (2407 + 5 * channel) * 1e6
    if 32 <= channel <= 177:
        return (5000 + 5 * channel) * 1e6
    raise DataFormatError(f"{where}: channel {channel}; allowed: 1 to 14 and 32 to 177.")
