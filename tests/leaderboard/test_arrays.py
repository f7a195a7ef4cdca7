import json
import struct
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import save, save_file

from isac_gym.core.errors import SubmissionError
from isac_gym.core.records import TensorRecord, tensor_field
from leaderboard.arrays import (
    ArraySpec,
    content_digest,
    file_digest,
    pack,
    parse_json,
    read_arrays,
    specs_of,
    unpack,
    write_bytes,
)

SPEC = {"x": ArraySpec(dtypes=("F64", "F32"), shape=(3, 2))}


@dataclass(frozen=True)
class Beam(TensorRecord):
    weight: torch.Tensor = tensor_field("B N", "complex", doc="beam")
    chosen: torch.Tensor = tensor_field("B", "int", doc="index")
    active: torch.Tensor = tensor_field("B", "bool", doc="mask")


def test_pack__complex_int_and_bool_fields_survive_a_file(tmp_path):
    beam = Beam(
        weight=torch.randn(
            3, 4, dtype=torch.complex128, generator=torch.Generator().manual_seed(1)
        ),
        chosen=torch.tensor([2, 0, 1]),
        active=torch.tensor([True, False, True]),
    )
    save_file(pack(beam), tmp_path / "beam.safetensors")
    specs = specs_of(Beam.tensor_fields(), {"B": 3, "N": 4})
    back = unpack(Beam, read_arrays(tmp_path / "beam.safetensors", specs))
    for name, t in back.items():
        assert torch.equal(t, dict(beam.items())[name])


def test_content_digest__ignores_storage_but_not_values_names_or_shapes():
    x = torch.tensor([[1.0, 2.0], [0.0, 4.0]])
    digest = content_digest({"x": x})
    assert digest == content_digest({"x": x.double()})
    assert digest == content_digest({"x": torch.where(x == 0, -x, x)})
    assert digest != content_digest({"y": x})
    assert digest != content_digest({"x": x.flatten()})
    assert digest != content_digest({"x": x + 1e-6})


def test_write_bytes__replaces_whole_and_leaves_no_temporary(tmp_path):
    path = tmp_path / "deep" / "file"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    assert len(file_digest(path)) == 64


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "duplicate key 'a'"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": ', "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_parse_json__refuses(text, reason):
    with pytest.raises(SubmissionError, match=reason):
        parse_json(text, label="it")


def bytes_of(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"abc", "3 bytes"),
        (struct.pack("<Q", 2**60) + b"{}", "header of 1152921504606846976"),
        (bytes_of(b"[1]"), "JSON object"),
        (bytes_of({"x": 5}), "dtype None"),
        (bytes_of({"y": {}}), r"missing arrays \['x'\], unknown arrays \['y'\]"),
        (bytes_of(b'{"x": {}, "x": {}}'), "duplicate key 'x'"),
        (
            bytes_of({"x": {"dtype": "F64", "shape": [3, 2], "data_offsets": [0, 48]}}),
            "not a valid safetensors",
        ),
        (
            bytes_of({"x": {"dtype": "F64", "shape": [10**9, 2], "data_offsets": [0, 16 * 10**9]}}),
            "shape",
        ),
    ],
)
def test_read_arrays__refuses_malformed_files(tmp_path, data, reason):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(SubmissionError, match=reason):
        read_arrays(path, SPEC)


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.full((3, 2), torch.nan), "x: row 0 .* finite"),
        (torch.tensor([[0.0, 0.0], [0.0, torch.inf], [0.0, 0.0]]), "x: row 1 .* finite"),
        (torch.tensor([[0.0, 0.0], [0.0, 0.0], [1e-310, 0.0]]).double() * 0 + 1e-310, "subnormal"),
        (torch.full((3, 2), 1e-40), "subnormal"),
        (torch.zeros(3, 2, dtype=torch.float16), "dtype F16, allowed F64 or F32"),
        (torch.zeros(3, 2, dtype=torch.int64), "dtype I64"),
        (torch.zeros(2, 3), r"shape \[2, 3\], expected \[3, 2\]"),
    ],
)
def test_read_arrays__refuses_bad_values(tmp_path, tensor, reason):
    path = tmp_path / "x.safetensors"
    path.write_bytes(save({"x": tensor}))
    with pytest.raises(SubmissionError, match=reason):
        read_arrays(path, SPEC)


def test_read_arrays__size_is_refused_before_anything_is_read(tmp_path):
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)  # sparse: takes no room, but would not fit into memory
    with pytest.raises(SubmissionError, match="allowed at most"):
        read_arrays(path, SPEC)


def test_read_arrays__refuses_links_folders_and_devices(tmp_path):
    save_file({"x": torch.zeros(3, 2)}, tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder"):
        with pytest.raises(SubmissionError, match="regular file"):
            read_arrays(tmp_path / name, SPEC)
    with pytest.raises(SubmissionError, match="missing"):
        read_arrays(tmp_path / "absent", SPEC)


def test_unpack__tensors_do_not_lie_where_the_file_put_them(tmp_path):
    # A header of odd length puts the file's tensors 8 bytes off; LAPACK then crashes on complex128.
    beam = Beam(torch.ones(2, 3, dtype=torch.complex128), torch.ones(2).long(), torch.ones(2) > 0)
    for length in range(8):
        stored = pack(beam)
        file = tmp_path / f"{'y' * length}.safetensors"
        save_file(stored, file, metadata={"pad": "z" * length})
        specs = specs_of(Beam.tensor_fields(), {"B": 2, "N": 3})
        back = unpack(Beam, read_arrays(file, specs))
        assert all(t.data_ptr() % 16 == 0 for _, t in back.items())
