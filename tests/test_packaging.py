import importlib.metadata
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import isac_gym
from isac_gym.core.family import load_object

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PACKAGES = ("isac_gym", "baselines", "agents", "leaderboard")
# The brackets keep this line from matching itself.
LEAKS = re.compile(r"/(?:tmp|work|root|home|Users)[/]|pythonh[o]sted|\.org/[s]imple")
ENTRY_POINTS = [
    (group, name, value)
    for group, points in PROJECT["entry-points"].items()
    for name, value in points.items()
]


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(python):
    """Pinned versions by canonical name, as pip on ``python`` reads constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = {}
    for line in lines:
        if not line or line.startswith("#"):
            continue
        pin = Requirement(line)
        assert [s.operator for s in pin.specifier] == ["=="], line
        if pin.marker is None or pin.marker.evaluate({"python_version": python}):
            assert canonical(pin.name) not in found, line
            found[canonical(pin.name)] = next(iter(pin.specifier)).version
    return found


def declared():
    requirements = list(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        requirements += extra
    return [Requirement(r) for r in requirements if not r.startswith("isac_gym")]


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints__satisfy_every_declared_range(python):
    pinned = pins(python)
    for requirement in declared():
        version = pinned[canonical(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} vs {version}"


def test_constraints__pin_everything_an_installation_of_the_extras_pulls_in():
    pinned, waiting, seen = pins("3.11"), [(r.name, r.extras) for r in declared()], set()
    while waiting:
        name, extras = waiting.pop()
        if canonical(name) in seen or canonical(name).startswith(("nvidia", "triton", "cuda")):
            continue
        seen.add(canonical(name))
        assert canonical(name) in pinned, name
        for line in importlib.metadata.requires(name) or ():
            needed = Requirement(line)
            environments = [{"extra": extra} for extra in (*extras, "")]
            if needed.marker is None or any(needed.marker.evaluate(e) for e in environments):
                waiting.append((needed.name, needed.extras))


def test_constraints__torch_is_first_and_no_hash_or_host_appears():
    text = (ROOT / "constraints.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines[0].startswith("torch==")
    assert not re.search(r"--hash|://|--index|--find-links|@", text)


def test_constraints__the_tested_environment_is_the_pinned_one():
    pinned = pins("3.11")
    for requirement in declared():
        installed = importlib.metadata.version(requirement.name).partition("+")[0]
        assert installed == pinned[canonical(requirement.name)], requirement.name


@pytest.mark.parametrize(("group", "name", "value"), ENTRY_POINTS)
def test_entry_points__are_installed_and_resolve(group, name, value):
    points = importlib.metadata.entry_points(group=group, name=name)
    assert value in [point.value for point in points]
    assert load_object(value) is not None


def test_console_script__is_the_command():
    assert PROJECT["scripts"] == {"isac": "isac_gym.cli:main"}
    assert callable(load_object(PROJECT["scripts"]["isac"]))


def test_extras__all_is_the_union_of_the_user_extras():
    extras = PROJECT["optional-dependencies"]
    assert set(extras) == {"marl", "cvx", "sb3", "csi", "all", "dev"}
    named = set(Requirement(extras["all"][0]).extras)
    assert named == set(extras) - {"all", "dev"}


def test_version__is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert isac_gym.__version__ == PROJECT["version"] == str(citation["version"])
    assert importlib.metadata.version("isac_gym") == PROJECT["version"]
    assert re.search(rf"^## .*{re.escape(PROJECT['version'])}", changelog, re.MULTILINE)


def test_citation__names_the_software_and_all_five_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == PROJECT["license"]
    notes = {reference["notes"] for reference in citation["references"]}
    assert len(notes) == 5
    for reference in citation["references"]:
        assert reference["title"]
        assert all(author["family-names"] for author in reference["authors"])


@pytest.mark.parametrize("package", PACKAGES)
def test_packages__are_typed(package):
    assert (ROOT / package / "py.typed").exists()
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "py.typed" in data["package-data"][package]


def test_packages__carry_the_files_that_solvers_and_agents_load():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    wanted = {
        "baselines": "robust_beamforming/weights",
        "agents": "pretrained/power_control_ppo",
        "leaderboard": "data/instances/power_control",
    }
    for package, folder in wanted.items():
        root = ROOT / package
        carried = {path for glob in data["package-data"][package] for path in root.glob(glob)}
        loaded = {path for path in (root / folder).iterdir() if path.is_file()}
        assert loaded
        assert loaded <= carried, package


def tracked_files():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]


def test_tracked_files__name_no_machine_path_or_package_index():
    files = tracked_files()
    assert files
    for path in files:
        try:
            found = LEAKS.search(path.read_text())
        except UnicodeDecodeError:
            continue
        assert not found, f"{path.relative_to(ROOT)}: {found[0] if found else ''}"


def test_tracked_files__are_small():
    for path in tracked_files():
        is_network = path.suffix == ".safetensors" and bool(
            {"weights", "pretrained"} & set(path.parts)
        )
        limit = 5 * 1024 if is_network else 512  # the paper's network has a million weights
        assert path.stat().st_size <= limit * 1024, path


def test_make__every_documented_target_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    wanted = {"demo", "test", "check", "test-slow", "bench", "figures", "format", "clean"}
    assert wanted <= targets
    assert "make test" in (ROOT / ".ci" / "run").read_text()
