"""Every fenced example in README and docs runs: Python in order, `isac` lines as processes."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def _blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(page.read_text()) if kind == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_docs__python_blocks_run(page: Path, tmp_path: Path):
    script = tmp_path / "page.py"
    blocks = _blocks(page, "python")
    if not blocks:
        pytest.skip(f"{page.name} has no Python example")
    script.write_text("\n\n".join(blocks))
    result = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, f"{page.name}:\n{result.stderr[-3000:]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_docs__isac_commands_run(page: Path, tmp_path: Path):
    lines = [line for block in _blocks(page, "bash") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("isac ")]
    assert len(commands) == len([line for line in lines if line.strip()]), (
        f"{page.name}: a bash block holds isac commands only; use console for others"
    )
    for command in commands:
        words = shlex.split(command, comments=True)
        result = subprocess.run(
            [sys.executable, "-m", "isac_gym.cli", *words[1:]],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert result.returncode == 0, f"{command}\n{result.stdout[-1500:]}{result.stderr[-1500:]}"


def test_docs__readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
