import numpy as np
import pytest

from isac_gym.core.errors import DataFormatError
from isac_gym.data.csi_tones import (
    channel_hz,
    fft_tones,
    grouped_tones,
    legacy_null,
    used_tones,
    wide_null,
)


def test_grouped__as_the_standard_lists_them():
    narrow = [-28, -26, -24, -22, -20, -18, -16, -14, -12, -10, -8, -6, -4, -2, -1]
    narrow += [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 28]
    wide = [-58, -54, -50, -46, -42, -38, -34, -30, -26, -22, -18, -14, -10, -6, -2]
    wide += [2, 6, 10, 14, 18, 22, 26, 30, 34, 38, 42, 46, 50, 54, 58]
    assert grouped_tones(20).tolist() == narrow
    assert grouped_tones(40).tolist() == wide


@pytest.mark.parametrize(("count", "data"), [(64, 52), (128, 108), (256, 234)])
def test_wide__leaves_the_data_tones(count, data):
    null = wide_null(count)
    assert (~null).sum() == data  # 802.11n and ac: data tones of 20, 40, 80 MHz
    tone = fft_tones(count)
    assert np.array_equal(null[tone > 0], null[tone < 0][1:][::-1])  # symmetric but for the edge


def test_used__and_legacy():
    assert len(used_tones(56)) == 56
    assert len(used_tones(114)) == 114
    assert (~legacy_null()).sum() == 52
    assert not legacy_null()[32 + 26]
    assert legacy_null()[32 + 27]


def test_channel__centre():
    assert channel_hz(1, where="x") == 2.412e9
    assert channel_hz(13, where="x") == 2.472e9
    assert channel_hz(14, where="x") == 2.484e9
    assert channel_hz(36, where="x") == 5.18e9
    assert channel_hz(155, where="x") == 5.775e9
    for channel in (0, 15, 31, 178):
        with pytest.raises(DataFormatError, match=f"a.csv: channel {channel}; allowed: 1 to 14"):
            channel_hz(channel, where="a.csv")
