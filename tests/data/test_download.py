import io
import subprocess
import sys
import tarfile

import pytest

from isac_gym.core.errors import DataFormatError
from isac_gym.data import download as module
from isac_gym.data.download import debian_package, download, extract, npm_package, npm_registry


def silent(what, done, total):
    """A report nobody reads."""


class Answer(io.BytesIO):
    def __init__(self, content, length):
        super().__init__(content)
        self.headers = {} if length is None else {"Content-Length": str(length)}


@pytest.fixture
def web(monkeypatch):
    """Pages by address; anything else cannot be reached."""
    pages, asked = {}, []

    def urlopen(url, timeout):
        asked.append(url)
        assert timeout > 0
        if url not in pages:
            raise OSError(f"{url}: nobody there")
        return Answer(*pages[url])

    monkeypatch.setattr(module.urllib.request, "urlopen", urlopen)
    pages["asked"] = asked
    return pages


@pytest.fixture
def no_programs(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: None)


def tar_bytes(members, mode="w:gz"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def deb_bytes(data, *, name=b"data.tar.xz"):
    def member(name, content):
        head = name.ljust(16) + b"0".ljust(32) + str(len(content)).encode().ljust(10) + b"`\n"
        return head + content + b"\n" * (len(content) % 2)

    body = (
        member(b"debian-binary", b"2.0\n") + member(b"control.tar.xz", b"odd") + member(name, data)
    )
    return b"!<arch>\n" + body


@pytest.mark.parametrize("length", [600_000, None])
def test_download__stores_and_reports(length, web, tmp_path):
    web["https://a.example/x"] = (b"x" * 600_000, length)
    seen = []
    download("https://a.example/x", tmp_path / "x", lambda *s: seen.append(s), label="x")
    assert (tmp_path / "x").stat().st_size == 600_000
    assert seen[0] == ("x", 0, 0)
    assert seen[-1] == ("x", 600_000, length or 0)


def test_download__that_ends_early_fails(web, tmp_path):
    web["https://a.example/x"] = (b"x" * 10, 20)
    with pytest.raises(OSError, match="ended after 10 of 20 bytes"):
        download("https://a.example/x", tmp_path / "x", silent, label="x")


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://a.example/x", "a.example/x"])
def test_download__only_over_http(url, web, tmp_path):
    with pytest.raises(ValueError, match="must be http or https"):
        download(url, tmp_path / "x", silent, label="x")
    assert not web["asked"]


def test_registry__is_the_users(monkeypatch, tmp_path):
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY", "NPM_CONFIG_USERCONFIG"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    assert npm_registry() is None
    settings = tmp_path / "home" / ".npmrc"
    settings.write_text("fund=false\n@scope:registry=https://no.example\n")
    assert npm_registry() is None
    settings.write_text('fund=false\nregistry = "https://${WHERE}/npm/"\n')
    monkeypatch.setenv("WHERE", "mirror.example")
    assert npm_registry() == "https://mirror.example/npm"
    (tmp_path / "other").write_text("registry=https://other.example\n")
    monkeypatch.setenv("NPM_CONFIG_USERCONFIG", str(tmp_path / "other"))
    assert npm_registry() == "https://other.example"
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://variable.example/")
    assert npm_registry() == "https://variable.example"


def test_npm__over_http(web, no_programs, monkeypatch, tmp_path):
    monkeypatch.setenv("npm_config_registry", "https://mirror.example")
    web["https://mirror.example/some/-/some-1.2.tgz"] = (b"archive", 7)
    assert npm_package("some", "1.2", tmp_path, silent).read_bytes() == b"archive"


def test_npm__through_the_program_if_http_fails(web, monkeypatch, tmp_path):
    def run(command, folder):
        assert command[:3] == ["npm", "pack", "some@1.2"]
        assert "--ignore-scripts" in command
        (folder / "some-1.2.tgz").write_bytes(b"archive")

    monkeypatch.setattr(module, "run", run)
    assert npm_package("some", "1.2", tmp_path, silent).read_bytes() == b"archive"


def test_npm__through_the_program_if_no_registry_is_configured(
    web, no_programs, monkeypatch, tmp_path
):
    monkeypatch.setattr(module, "npm_registry", lambda: None)
    with pytest.raises(OSError, match="no npm registry is configured; npm is not installed"):
        npm_package("some", "1.2", tmp_path, silent)
    assert not web["asked"]


def test_npm__gives_both_reasons(web, no_programs, monkeypatch, tmp_path):
    monkeypatch.setenv("npm_config_registry", "https://mirror.example")
    with pytest.raises(OSError, match=r"nobody there; npm is not installed"):
        npm_package("some", "1.2", tmp_path, silent)


POOL = "https://deb.debian.org/debian/pool/main/s/some/some_1_all.deb"


@pytest.mark.parametrize("kind", ["xz", "gz"])
def test_debian__from_the_pool(kind, web, no_programs, tmp_path):
    data = tar_bytes({"./usr/share/x": b"content"}, mode=f"w:{kind}")
    content = deb_bytes(data, name=f"data.tar.{kind}/".encode())
    web[POOL] = (content, len(content))
    archive = debian_package("some", "some_1_all.deb", tmp_path, silent)
    extract(archive, ["x"], tmp_path)
    assert (tmp_path / "x").read_bytes() == b"content"


def test_debian__through_apt_first(web, monkeypatch, tmp_path):
    def run(command, folder):
        assert command == ["apt-get", "download", "some"]
        (folder / "some_2_all.deb").write_bytes(deb_bytes(tar_bytes({"x": b"content"})))

    monkeypatch.setattr(module, "run", run)
    archive = debian_package("some", "some_1_all.deb", tmp_path, silent)
    extract(archive, ["x"], tmp_path)
    assert (tmp_path / "x").read_bytes() == b"content"
    assert not web["asked"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html></html>", "not as an archive"),
        (b"!<arch>\n", "holds no data.tar"),
        (deb_bytes(b"x", name=b"other.tar.xz"), "holds no data.tar"),
        (b"!<arch>\n" + b"z" * 100, "holds no data.tar"),
    ],
)
def test_debian__damage_is_named(content, words, web, no_programs, tmp_path):
    web[POOL] = (content, len(content))
    with pytest.raises(DataFormatError, match=words):
        debian_package("some", "some_1_all.deb", tmp_path, silent)


def test_extract__takes_the_named_files_and_nothing_else(tmp_path):
    archive = tmp_path / "a.tgz"
    members = {
        "package/data/x": b"content",
        "../../outside": b"no",
        "/etc/y": b"flat",
        "package/z": b"no",
    }
    archive.write_bytes(tar_bytes(members))
    (tmp_path / "out").mkdir()
    extract(archive, ["x", "y", "missing"], tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {
        "x": b"content",
        "y": b"flat",
    }


def test_extract__does_not_follow_links(tmp_path):
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        link = tarfile.TarInfo("package/x")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    (tmp_path / "out").mkdir()
    extract(archive, ["x"], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("cut", [0, 3, 60])
def test_extract__damage_is_named(cut, tmp_path):
    archive = tmp_path / "a.tgz"
    archive.write_bytes(tar_bytes({"x": bytes(range(256)) * 40})[: cut or None][: -1 if cut else 0])
    with pytest.raises(DataFormatError, match=r"a\.tgz: damaged archive"):
        extract(archive, ["x"], tmp_path)


def test_run__gives_the_last_line_of_a_failure(monkeypatch, tmp_path):
    monkeypatch.setattr(module.shutil, "which", lambda name: sys.executable)
    module.run(["python", "-c", "open('here', 'w')"], tmp_path)
    assert (tmp_path / "here").exists()
    with pytest.raises(OSError, match="python: the reason"):
        module.run(["python", "-c", "import sys; sys.exit('first\\nthe reason\\n')"], tmp_path)
    with pytest.raises(OSError, match="exit code 3"):
        module.run(["python", "-c", "raise SystemExit(3)"], tmp_path)
    monkeypatch.setattr(module, "_PROGRAM_TIMEOUT_S", 0.2)
    with pytest.raises(subprocess.TimeoutExpired):
        module.run(["python", "-c", "import time; time.sleep(9)"], tmp_path)
