from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.core import ShapeError
from isac_gym.core.records import TensorRecord, record_field, tensor_field


@dataclass(frozen=True)
class Inner(TensorRecord):
    gain: torch.Tensor = tensor_field("B K", "real", unit="W", doc="gain")


@dataclass(frozen=True)
class Outer(TensorRecord):
    inner: Inner = record_field(Inner, doc="nested")
    channel: torch.Tensor = tensor_field("B K N", "complex", doc="channel")
    point: torch.Tensor = tensor_field("B 3", "real", unit="m", doc="point")
    slot: torch.Tensor = tensor_field("B", "int", doc="slot")
    is_on: torch.Tensor = tensor_field("B K", "bool", doc="on")


def make(batch=4, k=2, n=3):
    base = torch.arange(batch * k * n, dtype=torch.float64).reshape(batch, k, n)
    return Outer(
        inner=Inner(base[..., 0]),
        channel=torch.complex(base, base + 1),
        point=base[:, 0, :1].repeat(1, 3),
        slot=torch.arange(batch),
        is_on=base[..., 0] > 4,
    )


def same(left, right):
    theirs = dict(right.items())
    return all(torch.equal(t, theirs[name]) for name, t in left.items())


def test_tensor_fields__nested_names():
    names = list(Outer.tensor_fields())
    assert names == ["inner.gain", "channel", "point", "slot", "is_on"]
    info = Outer.tensor_fields()["inner.gain"]
    assert (info.axes, info.kind, info.unit, info.doc) == (("B", "K"), "real", "W", "gain")


def test_tensor_field__refuses_unknown_kind():
    with pytest.raises(ValueError, match=r"kind must be one of .*'float'"):
        tensor_field("B", "float", doc="x")


def test_check__accepts_and_returns_self():
    record = make()
    assert record.check(K=2, N=3, B=4) is record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"channel": torch.zeros(4, 2, 3)},
            "Outer.channel: dtype torch.float32, expected a complex",
        ),
        ({"slot": torch.zeros(4)}, "Outer.slot: dtype torch.float32, expected a int"),
        ({"is_on": torch.zeros(4, 2)}, "Outer.is_on: dtype torch.float32, expected a bool"),
        ({"point": torch.zeros(4, 2)}, "Outer.point: shape (4, 2), expected (B 3) with 3=3"),
        ({"point": torch.zeros(4, 3, 1)}, "Outer.point: shape (4, 3, 1), expected (B 3)"),
        (
            {"point": torch.zeros(5, 3)},
            "Outer.point: shape (5, 3), expected (B 3) with B=4 (batch), got 5",
        ),
        (
            {"inner": Inner(torch.zeros(4, 3))},
            "Outer.channel: shape (4, 2, 3), expected (B K N) with K=3 (users), got 2",
        ),
        ({"point": [1.0]}, "Outer.point: expected a torch.Tensor, got list"),
        ({"point": torch.zeros(4, 3, device="meta")}, "Outer.point: on device meta, expected cpu"),
    ],
)
def test_check__names_the_field(change, message):
    with pytest.raises(ShapeError) as caught:
        make().replace(**change).check()
    assert message in str(caught.value)


def test_check__given_sizes_are_demanded():
    with pytest.raises(ShapeError, match=r"Outer.inner.gain: .*K=5 \(users\), got 2"):
        make().check(K=5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["inner.gain", "channel", "point"])
def test_check_finite__names_field_and_row(name, bad):
    tensors = {n: t.clone() for n, t in make().items()}
    tensors[name][2] = bad
    with pytest.raises(ShapeError, match=rf"Outer.{name}: non-finite value in row 2"):
        Outer.from_items(tensors).check_finite()


def test_check_finite__one_dimensional():
    @dataclass(frozen=True)
    class Line(TensorRecord):
        value: torch.Tensor = tensor_field("B", "real", doc="v")

    with pytest.raises(ShapeError, match="row 1"):
        Line(torch.tensor([0.0, torch.nan])).check_finite()


def test_check_finite__needs_values():
    with pytest.raises(ShapeError, match=r"Outer.inner.gain: on device meta, without values"):
        make().to("meta").check_finite()


def test_items__round_trip():
    assert same(Outer.from_items(dict(make().items())), make())


def test_from_items__refuses_missing_and_unknown():
    tensors = dict(make().items())
    tensors["extra"] = tensors.pop("slot")
    with pytest.raises(
        ShapeError, match=r"missing tensors \['slot'\], unknown tensors \['extra'\]"
    ):
        Outer.from_items(tensors)


@given(st.permutations(range(4)))
def test_getitem__rows(order):
    index = torch.tensor(order)
    picked = make()[index]
    assert same(picked, make().map(lambda t: t[index]))
    assert picked.batch_size == 4
    assert make()[1:3].batch_size == 2


def test_where__takes_rows():
    left, right = make(), make().map(lambda t: t.clone().zero_())
    mask = torch.tensor([True, False, True, False])
    merged = left.where(mask, right)
    assert same(merged[mask], left[mask])
    assert same(merged[~mask], right[~mask])


def test_cat__inverts_slicing():
    assert same(Outer.cat([make()[:1], make()[1:]]), make())


def test_to__moves_kinds_separately(dtype):
    moved = make().to(dtype=dtype)
    assert moved.dtype == dtype
    assert moved.channel.dtype == (torch.complex64 if dtype == torch.float32 else torch.complex128)
    assert moved.slot.dtype == torch.int64
    assert moved.is_on.dtype == torch.bool
    assert moved.inner.gain.dtype == dtype
    assert make().to("meta").device.type == "meta"


def test_detach__cuts_the_graph():
    record = Inner(torch.ones(2, 1, requires_grad=True) * 2)
    assert record.gain.requires_grad
    assert not record.detach().gain.requires_grad


def test_dtype__float64_without_floats():
    @dataclass(frozen=True)
    class Count(TensorRecord):
        slot: torch.Tensor = tensor_field("B", "int", doc="s")

    assert Count(torch.zeros(2, dtype=torch.int64)).dtype == torch.float64


def test_record__is_frozen():
    with pytest.raises(AttributeError):
        make().slot = torch.zeros(4)
