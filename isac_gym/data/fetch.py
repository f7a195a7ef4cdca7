"""Fetching a set: the first source that works, verified, put in place in one step."""

import http.client
import lzma
import shutil
import subprocess
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from isac_gym.core.errors import DataFormatError, DataSourceError
from isac_gym.data.download import Report
from isac_gym.data.images import reader_of
from isac_gym.data.sets import Arrays, SetSpec, data_folder, set_spec, verify_arrays
from isac_gym.data.sources import SOURCES, Source

__all__ = ["fetch"]

_STALE_S = 86_400
_FAILURES = (
    OSError,
    ValueError,  # DataFormatError and OpenML's errors too
    RuntimeError,
    EOFError,
    ImportError,
    MemoryError,
    zlib.error,
    lzma.LZMAError,
    http.client.HTTPException,
    subprocess.SubprocessError,
)


def _silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


def fetch(
    name: str,
    folder: Path | str | None = None,
    *,
    sources: Sequence[Source] | None = None,
    replace: bool = False,
    report: Report = _silent,
) -> tuple[Path, str]:
    """Fetch an image set into its standard layout below a folder.

    Everything is downloaded, verified and converted in a temporary folder beside the target, which
    is renamed at the end; whatever goes wrong before leaves the folder as it was.

    Args:
        name: ``mnist``, ``fashion-mnist`` or ``cifar10``.
        folder: The data folder; default as for ``load_images``.
        sources: Where to look, in this order; default: all there are for this set.
        replace: Whether files in the target's place may be replaced if they are not the set.
        report: Called with what is going on and the bytes done and in all.

    Returns:
        Where the set is, and which source it came from ("already there" if none).

    Raises:
        DataFormatError: There is no such set to fetch, or other files are in its place.
        DataSourceError: No source worked; gives the reason of each.
    """
    if name not in SOURCES:
        allowed = ", ".join(SOURCES)
        raise DataFormatError(f"data set to fetch must be one of {allowed}; got {name!r}.")
    spec, root = set_spec(name), data_folder(folder)
    target = root / spec.folders[0]
    found = _present(spec, root)
    if found is not None:
        return found, "already there"
    if target.exists() and not replace:
        raise DataFormatError(
            f"{target}: is there but is not the official {name}; move it away or use --replace."
        )
    reasons: list[str] = []
    with _made(target.parent):
        _sweep(target.parent, f".{name}-*")
        for source in SOURCES[name] if sources is None else sources:
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as work:
                try:
                    arrays = source.get(spec, Path(work), report)
                    report("verifying", 0, 0)
                    verify_arrays(arrays, spec, source.what)
                    ready = _written(arrays, spec, Path(work))
                except _FAILURES as error:
                    reasons.append(f"{source.what}: {str(error) or type(error).__name__}")
                else:
                    _put(ready, target, Path(work), spec)
                    return target, source.what
        raise DataSourceError(f"{name}: no source worked.\n" + "\n".join(reasons))


def _present(spec: SetSpec, root: Path) -> Path | None:
    """Where the official set already is below a folder, or None."""
    places = [root / place for place in spec.folders]
    return next((place for place in places if _is_official(place, spec)), None)


def _is_official(place: Path, spec: SetSpec) -> bool:
    try:
        verify_arrays(reader_of(spec).read_folder(place, spec), spec, place)
    except DataFormatError:
        return False
    return True


def _written(arrays: Arrays, spec: SetSpec, work: Path) -> Path:
    """Write the set and read it back, so that a full disk is noticed here."""
    ready = work / "ready"
    ready.mkdir()
    reader_of(spec).write_folder(ready, arrays)
    verify_arrays(reader_of(spec).read_folder(ready, spec), spec, ready)
    return ready


def _put(ready: Path, target: Path, work: Path, spec: SetSpec) -> None:
    old = work / "old"  # goes with the temporary folder
    if target.exists():
        target.rename(old)
    try:
        ready.rename(target)
    except OSError:
        if old.exists() and not target.exists():
            old.rename(target)
        if not _is_official(target, spec):  # else somebody fetched it at the same time
            raise


def _sweep(folder: Path, pattern: str) -> None:
    """Remove what a fetch that was killed left behind a day ago or more."""
    for place in folder.glob(pattern):
        if time.time() - place.stat().st_mtime > _STALE_S:
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """A folder that exists; if the block fails, what had to be made for it goes again."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for place in missing:
            if not any(place.iterdir()):
                shutil.rmtree(place)
        raise
