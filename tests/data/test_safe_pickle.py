import os
import pickle
import subprocess

import numpy as np
import pytest

from isac_gym.data.safe_pickle import load_plain
from tests.data.files import images, labels, python_2_batch


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("touch {path}",)),
        (subprocess.call, (["touch", "{path}"],)),
        (eval, ("open('{path}', 'w')",)),
        (open, ("{path}", "w")),
        (np.save, ("{path}", 1)),
        (np.load, ("{path}",)),
        (getattr, ("x", "upper")),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_calls__are_refused_and_not_made(function, arguments, protocol, tmp_path):
    path = tmp_path / "made"
    arguments = [
        a.format(path=path)
        if isinstance(a, str)
        else [t.format(path=path) for t in a]
        if isinstance(a, list)
        else a
        for a in arguments
    ]
    content = pickle.dumps({"data": Call(function, *arguments)}, protocol=protocol)
    with pytest.raises(pickle.UnpicklingError, match="is not allowed in a data file"):
        load_plain(content)
    assert not path.exists()


def test_names__behind_a_dot_are_refused():
    content = b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93."
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        load_plain(content)


def test_array__that_is_not_its_shape_is_refused():
    good = python_2_batch(images(2, (3072,)), labels(2))
    bad = good.replace(b"J\x02\x00\x00\x00", b"J\x03\x00\x00\x00", 1)
    with pytest.raises(pickle.UnpicklingError, match="size is not its shape"):
        load_plain(bad)


def test_stand_ins__a_pickle_cannot_change_the_next_reading():
    # sets a default argument of the function that makes arrays; then a good pickle is read
    spoil = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nN}X\x0c\x00\x00\x00__defaults__)s\x86b."
    with pytest.raises(pickle.UnpicklingError, match="a function, allowed is a dictionary"):
        load_plain(spoil)
    found = load_plain(python_2_batch(images(2, (3072,)), labels(2)))
    assert np.array_equal(found["data"], images(2, (3072,)))


@pytest.mark.parametrize("kind", ["u1", "B", np.uint8])
def test_array__of_bytes_is_read(kind):
    value = np.arange(6).astype(kind).reshape(2, 3)
    for protocol in range(2, 6):
        found = load_plain(pickle.dumps({b"a": value, "n": 1}, protocol=protocol))
        assert np.array_equal(found["a"], value)
        assert found["n"] == 1
