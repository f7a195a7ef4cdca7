"""Pickles that hold plain values and byte arrays, read without running anything they name.

A pickle may name any function to be called. Here every name but NumPy's few for arrays is refused,
and even those are not called: stand-ins made for one reading check what they are given and build
the array from its raw bytes.
"""

import io
import math
import pickle
from typing import Any

import numpy as np

__all__ = ["load_plain"]

_BYTE_TYPES = ("u1", "|u1", "B", "uint8")


def load_plain(content: bytes) -> dict[str, Any]:
    """Read a pickle of one dictionary of lists, numbers, texts and uint8 arrays.

    Texts written by Python 2 come back as bytes, except for the keys of the dictionary.

    Raises:
        pickle.UnpicklingError: It is no dictionary, names anything that is not allowed, or an
            array is not what it claims to be.
        Exception: Whatever ``pickle`` raises for damaged contents.
    """
    found = _Reader(io.BytesIO(content), encoding="bytes").load()
    if not isinstance(found, dict):
        raise pickle.UnpicklingError(f"a {type(found).__name__}, allowed is a dictionary")
    return {
        key.decode("latin1") if isinstance(key, bytes) else str(key): getattr(value, "value", value)
        for key, value in found.items()
    }


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, *, encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self._known = _stand_ins()

    def find_class(self, module: str, name: str, /) -> Any:
        """The stand-in of a name."""
        module = module.replace("numpy._core", "numpy.core")
        if (module, name) not in self._known:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a data file")
        return self._known[module, name]


def _stand_ins() -> dict[tuple[str, str], Any]:
    """Fresh objects, so that nothing a pickle does to them outlives its reading."""

    class DataType:
        def __init__(self, code: Any, *_: Any) -> None:
            self.code = code.decode("latin1") if isinstance(code, bytes) else code

        def __setstate__(self, _: Any) -> None: ...

    class Array:
        def __init__(self, *_: Any) -> None:
            self.value: np.ndarray | None = None

        def __setstate__(self, state: Any) -> None:
            _, shape, data_type, is_fortran, raw = state
            self.value = build(raw, data_type, shape, "F" if is_fortran else "C")

    def build(raw: Any, data_type: Any, shape: Any, order: Any) -> np.ndarray:
        if not (isinstance(data_type, DataType) and data_type.code in _BYTE_TYPES):
            code = getattr(data_type, "code", data_type)
            raise pickle.UnpicklingError(f"an array of type {code!r}, allowed is uint8")
        if not (isinstance(raw, bytes | bytearray) and len(raw) == math.prod(shape)):
            raise pickle.UnpicklingError(f"an array whose size is not its shape {shape!r}")
        order = "F" if order in ("F", b"F") else "C"
        return np.frombuffer(bytes(raw), np.uint8).reshape(shape, order=order)

    def reconstruct(*_: Any) -> Array:
        return Array()

    def encode(text: Any, coding: Any) -> bytes:  # how Python 3 writes bytes for Python 2
        if coding not in ("latin1", b"latin1"):
            raise pickle.UnpicklingError(f"bytes in coding {coding!r}, allowed is latin1")
        return text.encode("latin1")

    return {
        ("numpy.core.multiarray", "_reconstruct"): reconstruct,
        ("numpy.core.numeric", "_frombuffer"): build,
        ("numpy", "ndarray"): Array,
        ("numpy", "dtype"): DataType,
        ("_codecs", "encode"): encode,
    }
