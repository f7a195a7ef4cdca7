"""The floors of the house: who may import whom, and the bars of style that a parser can check.

Every rule is a function of a source tree that returns complaints; the real tree must give none, and
a planted violation must be found.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("isac_gym", "baselines", "agents", "leaderboard")
MAX_FUNCTION, MAX_MODULE = 60, 400

# Floors by module prefix, the most exact one counts; a module may import the listed prefixes. ``*``
# stands for one name and must be the same on both sides; a dot at the end means the module itself
# and nothing below it. Nothing but problems and their baselines may name a problem: a new problem
# must not need an edit anywhere else.
CORE, ENVS = "isac_gym.core", "isac_gym.envs"
BENCH, TERMINAL = "isac_gym.bench", "isac_gym.terminal"
DATA, PHYSICS, PROBLEM = "isac_gym.data", "isac_gym.physics", "isac_gym.problems.*"
SHARED = (
    "front",
    "registry",
    "policy",
    "iteration",
    "interior_point",
    "min_norm",
    "learned",
    "figures",
    "cli",
)
SHARED_BASELINES = ("baselines.", *(f"baselines.{name}." for name in SHARED))
JUDGE = (CORE, ENVS, "leaderboard")
FLOORS: dict[str, tuple[str, ...]] = {
    CORE: (CORE,),
    DATA: (CORE, DATA),
    "isac_gym.data.cli": (CORE, DATA, TERMINAL),
    PHYSICS: (CORE, DATA, PHYSICS),
    PROBLEM: (CORE, DATA, PHYSICS, PROBLEM),
    ENVS: (CORE, ENVS, BENCH),
    "isac_gym.testing": (CORE, ENVS, "isac_gym.testing"),
    "isac_gym.registration": (CORE,),
    BENCH: (CORE,),
    TERMINAL: (CORE,),
    "isac_gym.card": (CORE,),
    "isac_gym.cli": (CORE, BENCH, TERMINAL, "isac_gym.card", "isac_gym."),
    "isac_gym.": ("isac_gym.registration",),
    "isac_gym.problems.": (),
    **dict.fromkeys(SHARED_BASELINES, (CORE, TERMINAL, *SHARED_BASELINES)),
    "baselines.convex.lp_bisection": (),
    "baselines.convex.*": (CORE, DATA, PHYSICS, PROBLEM, "baselines"),
    "baselines.*": (CORE, DATA, PHYSICS, PROBLEM, BENCH, "baselines"),
    "agents": (CORE, ENVS, BENCH, TERMINAL, "isac_gym.", "baselines", "agents"),
    "leaderboard.reference": (*JUDGE, "baselines", "agents"),
    "leaderboard.cli": (*JUDGE, TERMINAL, "baselines", "agents"),
    "leaderboard": JUDGE,
}
CONTESTANTS = ("leaderboard.reference", "leaderboard.cli")  # only these two see a contestant

# Who may import what from outside, by prefix; packages that are not listed are free.
OUTSIDE: dict[str, tuple[str, ...]] = {
    "cvxpy": ("baselines.convex",),
    "stable_baselines3": ("agents.sb3",),
    "pettingzoo": ("isac_gym.envs.parallel", "isac_gym.registration"),
    "matplotlib": (
        "isac_gym.envs.render",
        "isac_gym.envs.voxels",
        "baselines.figures",
        "baselines.*.figures",
        "leaderboard.plots",
        "leaderboard.site",
        "agents.curves",
    ),
    "sklearn": (DATA, "baselines.subcarrier_selection.bench"),
    "PIL": (DATA,),
    "gymnasium": (ENVS, "isac_gym.testing", "isac_gym.registration", "agents", "leaderboard"),
}
LEAN: dict[str, tuple[str, ...]] = {
    CORE: ("torch", "numpy"),
    PHYSICS: ("torch",),
    PROBLEM: ("torch", "numpy"),
}


# --- reading the tree ---------------------------------------------------------------------------


class Module:
    """A parsed source file.

    Attributes:
        name: Dotted name; packages end without ``__init__``.
        tree: Syntax tree.
    """

    def __init__(self, root: Path, path: Path) -> None:
        parts = path.relative_to(root).with_suffix("").parts
        self.is_package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.is_package else parts)
        self.text = path.read_text()
        self.tree = _parse(self.text)


@cache
def _parse(text: str) -> ast.Module:
    return ast.parse(text)


def read(root: Path) -> dict[str, Module]:
    """All modules of the four packages under ``root`` by name."""
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    modules = [Module(root, path) for path in paths]
    return {module.name: module for module in modules}


def imports(
    module: Module, known: dict[str, Module], *, at_import: bool = False
) -> Iterator[tuple[str, int]]:
    """Pairs (imported module, line); ``from package import module`` names the module.

    With ``at_import`` only what runs when the module is imported: no functions, no TYPE_CHECKING.
    """
    nodes = list(_running(module.tree)) if at_import else list(ast.walk(module.tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield f"relative import of {node.module}", node.lineno
                continue
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole in known else str(node.module)), node.lineno


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        is_typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if is_typing or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield node
        yield from _running(node)


def _matches(pattern: str, name: str) -> str | None:
    """What ``*`` stands for if ``name`` is under ``pattern``; None if it is not.

    A pattern that ends with a dot means the module itself and nothing below it.
    """
    if pattern.endswith("."):
        return "" if name == pattern[:-1] else None
    wanted, parts = pattern.split("."), name.split(".")
    if len(parts) < len(wanted):
        return None
    star = ""
    for want, part in zip(wanted, parts, strict=False):
        if want == "*":
            star = part
        elif want != part:
            return None
    return star


def _floor(name: str) -> str | None:
    """Pattern of :data:`FLOORS` a module belongs to: itself, or the one with most literal names."""
    if f"{name}." in FLOORS:
        return f"{name}."
    fitting = [pattern for pattern in FLOORS if _matches(pattern, name) is not None]
    return max(fitting, key=lambda p: len([x for x in p.split(".") if x != "*"]), default=None)


# --- rules --------------------------------------------------------------------------------------


def floor_complaints(root: Path) -> list[str]:
    """Imports that go up, sideways into another problem, or from the judge to a contestant."""
    known, complaints = read(root), []
    for module in known.values():
        floor = _floor(module.name)
        if floor is None:
            complaints.append(f"{module.name}: on no floor; add it to FLOORS")
            continue
        star = _matches(floor, module.name)
        for target, line in sorted(set(imports(module, known))):
            where = f"{module.name}:{line}"
            if target.startswith("relative"):
                complaints.append(f"{where}: {target}")
            if target.split(".")[0] not in PACKAGES:
                continue
            matches = [_matches(allowed, target) for allowed in FLOORS[floor]]
            if not any(m is not None and m in ("", star) for m in matches):
                complaints.append(f"{where}: {floor} may not import {target}")
            is_judge = module.name.startswith("leaderboard") and module.name not in CONTESTANTS
            if is_judge and target in CONTESTANTS:
                complaints.append(f"{where}: the judge may not import {target}")
    return complaints


def outside_complaints(root: Path) -> list[str]:
    """Third-party packages imported where they do not belong."""
    known, complaints = read(root), []
    for module in known.values():
        for target, line in imports(module, known):
            top = target.split(".")[0]
            where = f"{module.name}:{line}"
            allowed = OUTSIDE.get(top)
            if allowed and not any(_matches(a, module.name) is not None for a in allowed):
                complaints.append(f"{where}: {top} belongs to {', '.join(allowed)}")
            for prefix, lean in LEAN.items():
                is_foreign = top not in PACKAGES and top not in sys.stdlib_module_names
                if is_foreign and _matches(prefix, module.name) is not None and top not in lean:
                    complaints.append(f"{where}: {prefix} may only import {', '.join(lean)}")
    return complaints


def cycle_complaints(root: Path) -> list[str]:
    """Import cycles at import time."""
    known = read(root)
    graph = {
        name: sorted({t for t, _ in imports(module, known, at_import=True) if t in known} - {name})
        for name, module in known.items()
    }
    complaints: list[str] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            complaints.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for target in graph[name]:
                visit(target, [*path, name])
            done.add(name)

    for name in graph:
        visit(name, [])
    return complaints


def length_complaints(root: Path) -> list[str]:
    """Function bodies over 60 lines (without docstring) and modules over 400."""
    complaints = []
    for module in read(root).values():
        lines = len(module.text.splitlines())
        if lines > MAX_MODULE:
            complaints.append(f"{module.name}: {lines} lines, at most {MAX_MODULE}")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = _length(node)
                if size > MAX_FUNCTION:
                    complaints.append(f"{module.name}.{node.name}: {size} lines")
    return complaints


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1


def documentation_complaints(root: Path) -> list[str]:
    """Public modules, classes and functions without docstring; functions without annotations."""
    complaints = []
    for module in read(root).values():
        if not ast.get_docstring(module.tree):
            complaints.append(f"{module.name}: no docstring")
        for node, path in _definitions(module.tree, module.name):
            is_public = not any(part.startswith("_") for part in path.split("."))
            is_overload = any("overload" in ast.unparse(d) for d in node.decorator_list)
            if is_public and not is_overload and not ast.get_docstring(node):
                complaints.append(f"{path}: no docstring")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                complaints += [f"{path}: {what} not annotated" for what in _bare(node)]
    return complaints


def _definitions(
    tree: ast.AST, prefix: str
) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, str]]:
    """Classes and functions, not those inside functions, with their dotted path."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            path = f"{prefix}.{node.name}"
            yield node, path
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node, path)
        elif isinstance(node, ast.If | ast.Try):
            yield from _definitions(node, prefix)


def _bare(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    every += [a for a in (node.args.vararg, node.args.kwarg) if a]
    names = [a.arg for a in every if a.annotation is None and a.arg not in ("self", "cls")]
    return names + (["the result"] if node.returns is None else [])


def banned_complaints(root: Path) -> list[str]:
    """``assert`` and ``print`` in shipped code, silently swallowed exceptions, TODO notes."""
    complaints = []
    for module in read(root).values():
        for node in ast.walk(module.tree):
            where = f"{module.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Assert):
                complaints.append(f"{where}: assert")
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if is_call and node.func.id == "print":
                complaints.append(f"{where}: print")
            if isinstance(node, ast.ExceptHandler) and _is_silent(node):
                complaints.append(f"{where}: swallowed exception")
        for number, line in enumerate(module.text.splitlines(), start=1):
            if "TODO" in line or "FIXME" in line:
                complaints.append(f"{module.name}:{number}: TODO without an issue")
    return complaints


def _is_silent(node: ast.ExceptHandler) -> bool:
    is_broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
    return is_broad and all(isinstance(s, ast.Pass | ast.Continue) for s in node.body)


RULES = {
    "floors": floor_complaints,
    "outside": outside_complaints,
    "cycles": cycle_complaints,
    "lengths": length_complaints,
    "documentation": documentation_complaints,
    "banned": banned_complaints,
}


@pytest.mark.parametrize("rule", RULES)
def test_tree__keeps(rule):
    complaints = RULES[rule](ROOT)
    assert not complaints, "\n".join(complaints)


def test_tree__is_read_whole():
    known = read(ROOT)
    assert {"isac_gym.core.random", "isac_gym.problems.power_control.model"} <= set(known)
    assert {"baselines.front", "agents.sb3.vec_env", "leaderboard.tasks"} <= set(known)
    assert len(known) > 60


def test_import__is_light():
    heavy = ("pettingzoo", "cvxpy", "stable_baselines3", "matplotlib", "torch")
    code = f"import sys, isac_gym; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- the rules can fail -------------------------------------------------------------------------

CLEAN = '"""A module."""\n'

PLANTED = {
    "core imports physics": (
        "floors",
        "isac_gym/core/x.py",
        "import isac_gym.physics.radar",
        "may not import isac_gym.physics.radar",
    ),
    "core imports an adapter lazily": (
        "floors",
        "isac_gym/core/x.py",
        "def f() -> None:\n    import isac_gym.envs",
        "may not import isac_gym.envs",
    ),
    "data imports physics": (
        "floors",
        "isac_gym/data/x.py",
        "import isac_gym.physics.radar",
        "may not import isac_gym.physics.radar",
    ),
    "physics imports a problem": (
        "floors",
        "isac_gym/physics/x.py",
        "from isac_gym.problems import toy",
        "may not import",
    ),
    "problem imports another problem": (
        "floors",
        "isac_gym/problems/toy/x.py",
        "from isac_gym.problems.power_control import model",
        "may not import isac_gym.problems.power_control",
    ),
    "problem imports an adapter": (
        "floors",
        "isac_gym/problems/toy/x.py",
        "from isac_gym.envs.vector import ProcessVectorEnv",
        "may not import isac_gym.envs",
    ),
    "adapter names a problem": (
        "floors",
        "isac_gym/envs/x.py",
        "import isac_gym.problems.power_control",
        "may not import",
    ),
    "suite names a problem": (
        "floors",
        "isac_gym/testing/x.py",
        "import isac_gym.problems.power_control.model",
        "may not import",
    ),
    "front door names a problem": (
        "floors",
        "baselines/front.py",
        "import isac_gym.problems.power_control.model",
        "may not import",
    ),
    "front door names a problem's baseline": (
        "floors",
        "baselines/front.py",
        "import baselines.power_control.exact",
        "may not import",
    ),
    "baseline of one problem uses another's": (
        "floors",
        "baselines/toy/x.py",
        "import isac_gym.problems.power_control.model",
        "may not import",
    ),
    "baseline imports an agent": (
        "floors",
        "baselines/toy/x.py",
        "import agents.network",
        "may not import agents",
    ),
    "agent imports the leaderboard": (
        "floors",
        "agents/x.py",
        "import leaderboard.tasks",
        "may not import leaderboard",
    ),
    "judge sees a solver": (
        "floors",
        "leaderboard/scoring.py",
        "import baselines.front",
        "may not import baselines",
    ),
    "judge sees an agent": (
        "floors",
        "leaderboard/store.py",
        "def f() -> None:\n    from agents.network import Network",
        "may not import agents",
    ),
    "judge sees a contestant": (
        "floors",
        "leaderboard/tasks.py",
        "import leaderboard.reference",
        "the judge may not import",
    ),
    "relative import": ("floors", "isac_gym/core/x.py", "from . import random", "relative import"),
    "unknown floor": ("floors", "isac_gym/attic.py", "", "on no floor"),
    "cvxpy outside convex": (
        "outside",
        "baselines/power_control/x.py",
        "import cvxpy as cp",
        "cvxpy belongs",
    ),
    "cvxpy lazily": (
        "outside",
        "baselines/front.py",
        "def f() -> None:\n    import cvxpy",
        "cvxpy belongs",
    ),
    "SB3 outside agents.sb3": (
        "outside",
        "agents/training.py",
        "from stable_baselines3 import PPO",
        "stable_baselines3 belongs",
    ),
    "PettingZoo in the vector environment": (
        "outside",
        "isac_gym/envs/vector.py",
        "import pettingzoo",
        "pettingzoo belongs",
    ),
    "matplotlib in an environment": (
        "outside",
        "isac_gym/envs/single.py",
        "import matplotlib.pyplot",
        "matplotlib belongs",
    ),
    "gymnasium in core": ("outside", "isac_gym/core/x.py", "import gymnasium", "gymnasium belongs"),
    "scipy in physics": (
        "outside",
        "isac_gym/physics/x.py",
        "import scipy",
        "may only import torch",
    ),
    "pydantic in core": (
        "outside",
        "isac_gym/core/x.py",
        "import pydantic",
        "may only import torch",
    ),
    "a long function": (
        "lengths",
        "isac_gym/core/x.py",
        "def f() -> None:\n" + "    a = 1\n" * 61,
        "f: 61 lines",
    ),
    "a long module": ("lengths", "isac_gym/core/x.py", "a = 1\n" * 399, "401 lines"),
    "no module docstring": ("documentation", "isac_gym/core/x.py", None, "no docstring"),
    "no class docstring": (
        "documentation",
        "isac_gym/core/x.py",
        "class A:\n    pass",
        "x.A: no docstring",
    ),
    "no method docstring": (
        "documentation",
        "isac_gym/core/x.py",
        'class A:\n    """A."""\n    def f(self) -> None: ...',
        "A.f: no docstring",
    ),
    "no annotation": (
        "documentation",
        "isac_gym/core/x.py",
        "def _f(a, *, b: int, **c: int) -> None: ...",
        "a not annotated",
    ),
    "no result annotation": (
        "documentation",
        "isac_gym/core/x.py",
        "def _f(): ...",
        "the result not annotated",
    ),
    "assert": ("banned", "agents/x.py", "assert True", "assert"),
    "print": ("banned", "leaderboard/x.py", "print(1)", "print"),
    "swallowed": (
        "banned",
        "baselines/x.py",
        "try:\n    a = 1\nexcept Exception:\n    pass",
        "swallowed",
    ),
    "note to self": ("banned", "isac_gym/core/x.py", "a = 1  # TODO: later", "TODO"),
}


def plant(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("a = 1\n" if text is None else CLEAN + text + "\n")


@pytest.mark.parametrize("case", PLANTED)
def test_rule__finds_a_planted_violation(case, tmp_path):
    rule, path, text, words = PLANTED[case]
    plant(tmp_path, "isac_gym/problems/toy/__init__.py", "")
    assert not RULES[rule](tmp_path)
    plant(tmp_path, path, text)
    complaints = RULES[rule](tmp_path)
    assert len(complaints) >= 1
    assert any(words in complaint for complaint in complaints), complaints


def test_cycles__found_and_lazy_ones_forgiven(tmp_path):
    plant(tmp_path, "isac_gym/core/a.py", "import isac_gym.core.b")
    plant(tmp_path, "isac_gym/core/b.py", "from isac_gym.core import c")
    plant(tmp_path, "isac_gym/core/c.py", "def f() -> None:\n    import isac_gym.core.a")
    assert not cycle_complaints(tmp_path)
    plant(tmp_path, "isac_gym/core/c.py", "if True:\n    import isac_gym.core.a")
    assert cycle_complaints(tmp_path) == [
        "isac_gym.core.a -> isac_gym.core.b -> isac_gym.core.c -> isac_gym.core.a"
    ]
    plant(
        tmp_path,
        "isac_gym/core/c.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import isac_gym.core.a",
    )
    assert not cycle_complaints(tmp_path)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("isac_gym/core/x.py", "import torch\nimport numpy as np\nimport isac_gym.core.errors"),
        ("isac_gym/problems/toy/x.py", "from isac_gym.problems.toy import model"),
        ("isac_gym/problems/toy/x.py", "import isac_gym.physics.radar"),
        ("isac_gym/problems/toy/x.py", "import isac_gym.data.images"),
        ("baselines/toy/x.py", "import isac_gym.problems.toy.model\nimport baselines.front"),
        ("baselines/convex/toy.py", "import cvxpy\nimport isac_gym.problems.toy.model"),
        ("agents/sb3/x.py", "import stable_baselines3\nimport agents.network"),
        ("leaderboard/reference.py", "import baselines.front\nimport agents.network"),
        ("leaderboard/tasks.py", "import isac_gym.core.family"),
    ],
)
def test_rules__allow_what_is_allowed(path, text, tmp_path):
    plant(tmp_path, path, text)
    for rule in RULES.values():
        assert not rule(tmp_path)
