"""Data files written byte by byte, without the code under test."""

import pickle
import struct
import zlib

import numpy as np

IDX = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")


def images(count, shape, *, first=0):
    """Distinct images, uint8."""
    size = count * int(np.prod(shape))
    return (np.arange(first, first + size) * 7 % 251).astype(np.uint8).reshape(count, *shape)


def labels(count):
    return (np.arange(count) * 3 % 10).astype(np.uint8)


def idx_bytes(array, magic=None):
    head = bytes((0, 0, 8, array.ndim)) if magic is None else magic
    return head + b"".join(struct.pack(">I", n) for n in array.shape) + array.tobytes()


def write_idx(folder, *, counts=(6, 4), change=bytes, name=str):
    """The four files; ``change`` maps contents, ``name`` maps names. Returns the four arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = []
    for (image_name, label_name), count in zip(IDX.values(), counts, strict=True):
        pixels, label = images(count, (28, 28), first=count), labels(count)
        (folder / name(image_name)).write_bytes(change(idx_bytes(pixels)))
        (folder / name(label_name)).write_bytes(change(idx_bytes(label)))
        arrays += [pixels[:, None], label]
    return arrays


def python_2_batch(pixels, label):
    """A batch as Python 2 pickled it: byte texts, NumPy's old names."""
    raw = pixels.tobytes()

    def text(value):
        return b"U" + bytes((len(value),)) + value

    def integer(value):
        return b"J" + struct.pack("<i", value)

    shape = integer(pixels.shape[0]) + integer(pixels.shape[1]) + b"\x86"
    kind = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
    kind += b"(K\x03" + text(b"|") + b"NNN" + integer(-1) + integer(-1) + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b")
    array += b"\x87R(K\x01" + shape + kind + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    listed = b"](" + b"".join(b"K" + bytes((int(value),)) for value in label) + b"e"
    pairs = text(b"data") + array + text(b"labels") + listed
    return b"\x80\x02}(" + pairs + b"u."


def write_batches(folder, write=None, *, each=2):
    """The six Python batches. Returns the four arrays."""
    write = write or (lambda x, y: pickle.dumps({"data": x, "labels": y.tolist()}))
    folder.mkdir(parents=True, exist_ok=True)
    pixels, label = images(6 * each, (3, 32, 32)), labels(6 * each)
    for k, name in enumerate((*BATCHES, "test_batch")):
        rows = slice(k * each, (k + 1) * each)
        (folder / name).write_bytes(write(pixels[rows].reshape(each, -1), label[rows]))
    cut = 5 * each
    return pixels[:cut], label[:cut], pixels[cut:], label[cut:]


def png_bytes(pixels, *, colour=2):
    """A PNG of (height, width, channels) or (height, width) bytes, no filter."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def write_sheets(folder, *, each=2, spelling="lables"):
    """The six PNG sheets and two label files. Returns the four arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels, label = images(6 * each, (3, 32, 32)), labels(6 * each)
    for k, name in enumerate((*BATCHES, "test_batch")):
        rows = pixels[k * each : (k + 1) * each].transpose(0, 2, 3, 1).reshape(each, 1024, 3)
        (folder / f"{name}.png").write_bytes(png_bytes(rows))
    cut = 5 * each
    (folder / f"train_{spelling}.json").write_text(str(label[:cut].tolist()))
    (folder / f"test_{spelling}.json").write_text(str(label[cut:].tolist()))
    return pixels[:cut], label[:cut], pixels[cut:], label[cut:]
