import numpy as np
import pytest
import torch

from isac_gym.core.errors import DataFormatError
from isac_gym.data.csi import CSIRecording

N, T, P, K = 4, 6, 2, 5


def parts(**changes):
    generator = torch.Generator().manual_seed(0)
    csi = torch.randn(N, T, P, K, dtype=torch.complex64, generator=generator)
    return {
        "csi": csi,
        "fs": 100.0,
        "fc": 5.2e9,
        "freqs": 5.2e9 + 312.5e3 * torch.arange(K, dtype=torch.float64),
        "null": torch.zeros(P, K, dtype=torch.bool),
        "loc": torch.rand(N, 2, generator=generator),
        "sen": torch.tensor([0, 1, 2, 1]),
    } | changes


def changed(value, *places, to):
    value = value.clone()
    value[places] = to
    return value


def test_recording__has_the_sizes():
    recording = CSIRecording(**parts())
    sizes = (recording.num_windows, recording.num_packets, recording.num_links, recording.num_tones)
    assert sizes == (N, T, P, K)
    assert recording.is_complex
    assert not CSIRecording(**parts(csi=parts()["csi"].abs())).is_complex
    assert recording.received.all()
    assert recording.sessions.tolist() == [0, 1, 2, 3]
    assert recording.loc_names == recording.sen_names == ()


def test_recording__is_frozen():
    with pytest.raises(AttributeError):
        CSIRecording(**parts()).fs = 1.0


def test_select__keeps_what_belongs_to_a_window():
    valid = changed(torch.ones(N, T, dtype=torch.bool), 3, 0, to=False)
    csi = changed(parts()["csi"], 3, 0, to=0)
    session = torch.tensor([5, 5, 6, 7])
    recording = CSIRecording(**parts(csi=csi, valid=valid, session=session))
    for rows in (torch.tensor([3, 1]), torch.tensor([False, True, False, True])):
        chosen = recording.select(rows)
        assert torch.equal(chosen.csi, csi[rows])
        assert torch.equal(chosen.loc, recording.loc[rows])
        assert torch.equal(chosen.sen, recording.sen[rows])
        assert torch.equal(chosen.session, session[rows])
        assert torch.equal(chosen.received, valid[rows])
    assert CSIRecording(**parts(loc=None, sen=None)).select(torch.tensor([0])).loc is None


CSI = parts()["csi"]
NULL = torch.zeros(P, K, dtype=torch.bool)
NULL_0 = changed(NULL, 0, 2, to=True)
REFUSED = {
    "no tensor": ({"csi": CSI.numpy()}, "csi: ndarray; allowed: a tensor"),
    "a label of another kind": ({"sen": [0, 1, 2, 1]}, "sen: list; allowed: a tensor"),
    "three axes": ({"csi": CSI[0]}, "csi: shape 6 x 2 x 5; allowed: N x T x P x K"),
    "no window": ({"csi": CSI[:0]}, "csi: shape 0 x 6 x 2 x 5"),
    "double precision": ({"csi": CSI.to(torch.complex128)}, "csi: torch.complex128; allowed"),
    "one packet": ({"csi": CSI[:, :1]}, "csi: T = 1 packets; allowed: at least 2"),
    "NaN": (
        {"csi": changed(CSI, 1, 2, 1, 3, to=torch.nan)},
        "csi: 1 values that are not finite, first at window 1, packet 2, link 1, tone 3; allowed",
    ),
    "infinity": ({"csi": changed(CSI, 0, to=torch.inf)}, "csi: 60 values that are not finite"),
    "negative amplitude": ({"csi": CSI.real.contiguous()}, "csi: negative amplitudes"),
    "silent packet": (
        {"csi": changed(CSI, 2, 4, to=0)},
        "csi: 1 packets that are all zero, first at window 2, packet 4; allowed: none",
    ),
    "silent but for a null tone": (
        {"csi": changed(changed(CSI, 0, 0, to=0), 0, 0, 0, 2, to=9), "null": NULL_0},
        "csi: 1 packets that are all zero, first at window 0, packet 0",
    ),
    "padding that is no zero": (
        {"valid": changed(torch.ones(N, T, dtype=torch.bool), 1, 1, to=False)},
        "valid: False for a packet that is not zero, at window 1, packet 1",
    ),
    "all padding but one packet": (
        {
            "csi": changed(CSI, 1, slice(1, None), to=0),
            "valid": changed(torch.ones(N, T, dtype=torch.bool), 1, slice(1, None), to=False),
        },
        "valid: 1 packets in window 1; allowed: at least 2",
    ),
    "varying K": (
        {"freqs": parts()["freqs"][:-1]},
        "freqs: shape 4, torch.float64; allowed: shape 5",
    ),
    "single precision": ({"freqs": parts()["freqs"].float()}, "freqs: shape 5, torch.float32"),
    "falling tones": (
        {"freqs": parts()["freqs"].flip(0)},
        "freqs: an order that is not increasing",
    ),
    "tone at 0 Hz": ({"freqs": torch.arange(5.0).double()}, "freqs: a tone below 0 Hz"),
    "null of another size": (
        {"null": NULL[:, :4]},
        "null: shape 2 x 4, torch.bool; allowed: shape 2 x 5",
    ),
    "null as numbers": ({"null": NULL.long()}, "null: shape 2 x 5, torch.int64"),
    "a link without tones": (
        {"null": changed(NULL, 1, to=True)},
        "null: every tone of link 1; allowed: at least one tone a link",
    ),
    "no rate": ({"fs": 0.0}, "fs: 0.0; allowed: a positive number of Hz"),
    "carrier that is not finite": ({"fc": float("inf")}, "fc: inf; allowed"),
    "too few positions": (
        {"loc": torch.rand(3, 2)},
        "loc: 3 labels for 4 windows; allowed: one each",
    ),
    "too many classes": ({"sen": torch.zeros(5).long()}, "sen: 5 labels for 4 windows"),
    "positions in space": ({"loc": torch.rand(4, 3)}, "loc: shape 4 x 3, torch.float32; allowed"),
    "positions as whole numbers": (
        {"loc": torch.zeros(4, 2).long()},
        "loc: shape 4 x 2, torch.int64",
    ),
    "position that is not finite": (
        {"loc": torch.full((4, 2), torch.nan)},
        "loc: a value that is not finite",
    ),
    "rate in pairs": (
        {"sen": torch.rand(4, 2)},
        "sen: shape 4 x 2, torch.float32; allowed: (N,) int64",
    ),
    "negative class": (
        {"sen": torch.tensor([0, -1, 0, 0])},
        "sen: labels -1 to 0; allowed: at least 0",
    ),
    "class without a name": (
        {"sen_names": ("sit", "stand")},
        "sen: labels 0 to 2; allowed: 0 to 1",
    ),
    "sessions of another size": (
        {"session": torch.zeros(3).long()},
        "session: shape 3, torch.int64",
    ),
    "valid of another size": ({"valid": torch.ones(4, 5) > 0}, "valid: shape 4 x 5, torch.bool"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_recording__refuses(case):
    changes, words = REFUSED[case]
    with pytest.raises(DataFormatError) as caught:
        CSIRecording(**parts(**changes), source="walk.pcap")
    assert str(caught.value).startswith(f"walk.pcap: {words}")


def settings():
    return {k: v for k, v in parts().items() if k in ("fs", "fc", "freqs")}


def test_windows__of_unequal_length_are_padded_in_front():
    windows = [CSI[0], CSI[1, :4], torch.cat([CSI[2, :1] * 0, CSI[2]])]
    recording = CSIRecording.from_windows(windows, **settings())
    assert recording.csi.shape == (3, T, P, K)
    assert recording.valid.sum(-1).tolist() == [6, 4, 6]
    assert torch.equal(recording.csi[1, 2:], CSI[1, :4])
    assert not recording.csi[1, :2].any()
    assert torch.equal(recording.csi[2], CSI[2])
    assert not recording.null.any()


def test_windows__of_equal_length_need_no_padding():
    recording = CSIRecording.from_windows(list(CSI), **settings())
    assert recording.valid is None
    assert torch.equal(recording.csi, CSI)


@pytest.mark.parametrize(
    ("windows", "words"),
    [
        ([], "walk: no window"),
        ([CSI[0], CSI[1, :, :, :4]], "walk: b: K = 4, a has K = 5; allowed: the same in all"),
        ([CSI[0], CSI[1, :, :1]], "walk: b: P = 1, a has P = 2"),
        ([CSI[0], CSI[1, 0]], "walk: b: shape 2 x 5; allowed: T x P x K"),
        ([CSI[0], CSI[1].abs()], "walk: b: torch.float32, a is torch.complex64"),
        ([CSI[0], CSI[1] * 0], "walk: csi: 6 packets that are all zero, first at window 1"),
        ([CSI[0], CSI[1, :1]], "walk: valid: 1 packets in window 1; allowed: at least 2"),
        ([CSI[0, :1], CSI[1, :1]], "walk: csi: T = 1 packets; allowed: at least 2"),
    ],
)
def test_windows__that_do_not_fit_are_named(windows, words):
    with pytest.raises(DataFormatError) as caught:
        CSIRecording.from_windows(
            windows, names=["a", "b"][: len(windows)], source="walk", **settings()
        )
    assert str(caught.value).startswith(words)


def test_recording__keeps_null_tones_of_any_value():
    csi = changed(CSI, slice(None), slice(None), 0, 2, to=1e6)
    assert CSIRecording(**parts(csi=csi, null=NULL_0)).null.sum() == 1
    assert np.isclose(float(csi.abs().max()), 1e6)
