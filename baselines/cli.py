"""Commands ``isac solve``, ``isac fit`` and ``isac figures``."""

import math
import shlex
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from isac_gym.core.errors import ScenarioError
from isac_gym.core.family import family
from isac_gym.terminal import Json, assignments, duration, plain_table, print_json

if TYPE_CHECKING:
    from isac_gym.core.problem import Problem
    from isac_gym.core.records import TensorRecord
    from isac_gym.core.solution import Certificate, Solver

__all__ = ["register"]

_FEASIBLE = 1e-7
_ROUNDING = 1e-12  # losses below this are shown as 0


def register(app: typer.Typer) -> None:
    """Add the commands of this package to ``isac``."""
    app.command("solve")(_solve)
    app.command("fit")(_fit)
    app.command("figures")(_figures)


def _solve(
    problem: Annotated[str, typer.Argument(metavar="PROBLEM", help="Problem name; see isac list.")],
    solver: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME or NAME:field=value,...; repeat for more; default: all but slow ones."
        ),
    ] = None,
    instances: Annotated[int, typer.Option(min=1, help="Number of instances.")] = 256,
    preset: Annotated[str, typer.Option(help="Preset of the scenario.")] = "paper",
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Scenario field.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of instances and solvers.")] = 0,
    iterations: Annotated[int | None, typer.Option(min=1, help="Budget of every solver.")] = None,
    device: Annotated[str, typer.Option(help="Torch device: cpu, cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    as_json: Json = False,
) -> None:
    """Solve random instances with one or more solvers and compare.

    The loss is the certified optimum minus the objective, over feasible decisions; empty where
    only a slow solver could certify, unless that one is asked for.

    \b
    Examples:
      isac solve power-control --solver exact --solver sca
      isac solve power-control --preset paper-constrained --set self_interference_db=-90
      isac solve power-control --solver distributed:eta=1 --instances 1000 --json
    """  # noqa: D301 - the help renderer wants the \b character
    import torch

    from baselines.front import certificate
    from baselines.registry import solvers
    from isac_gym.core.device import torch_device
    from isac_gym.core.random import Streams

    scenario = {"preset": preset, **assignments("--set", changes)}
    setup = family(problem).make_problem(scenario)
    quick = [name for name, kind in solvers(setup.name).items() if not kind.is_slow]
    chosen = [_parse_solver(setup.name, text) for text in solver or quick]
    streams = Streams.from_seed(seed, instances, device=torch_device(device))
    dtypes = {"float64": torch.float64, "float32": torch.float32}
    instance = setup.sample(streams).to(dtype=_choose(dtypes, "dtype", dtype))
    reference = certificate(setup, instance, slow=any(each.is_slow for each in chosen))
    rows = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for each in progress.track(chosen, description="solving"):
            rows.append(_row(setup, instance, each, reference, iterations, seed))
    if as_json:
        report = {
            "problem": setup.name,
            "scenario": setup.scenario.to_dict(),
            "digest": setup.scenario.digest(),
            "instances": instances,
            "seed": seed,
            "device": device,
            "dtype": dtype,
            "certificate": None if reference is None else reference.kind,
            "solvers": rows,
        }
        print_json(report)
        return
    _print_rows(rows, setup.objective_unit, reference)


def _fit(
    problem: Annotated[str, typer.Argument(metavar="PROBLEM", help="Problem name; see isac list.")],
    solver: Annotated[str, typer.Argument(metavar="SOLVER", help="A solver with weights.")],
    steps: Annotated[int, typer.Option(help="Gradient steps.")] = 10_000,
    batch: Annotated[int, typer.Option(help="Instances per step.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of weights and instances.")] = 0,
    learning_rate: Annotated[float, typer.Option(help="Peak rate of Adam.")] = 1e-3,
    max_seconds: Annotated[float, typer.Option(help="Stop training after this long.")] = math.inf,
    device: Annotated[str, typer.Option(help="Torch device: cpu, cuda.")] = "cpu",
    preset: Annotated[str, typer.Option(help="Preset of the scenario.")] = "paper",
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Scenario field.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Weights without suffix; default: <solver>-seed<seed>.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a learned solver and save its weights as plain data, with a manifest.

    Use them with the solver's field: --solver 'boblrbf-dnn:weights=PATH'.

    \b
    Examples:
      isac fit robust-beamforming boblrbf-dnn-gradient --steps 2000 --batch 64
      isac fit robust-beamforming boblrbf-dnn --device cuda --seed 1 --out weights/literal-1
    """  # noqa: D301 - the help renderer wants the \b character
    from baselines.learned import FitPlan, LearnedSolver, save_weights
    from baselines.registry import make_solver
    from isac_gym.core.device import torch_device

    setup = family(problem).make_problem({"preset": preset, **assignments("--set", changes)})
    chosen = make_solver(setup.name, solver)
    if not isinstance(chosen, LearnedSolver):
        raise ScenarioError(f"solver {solver!r} of {setup.name} has no weights to train.")
    plan = FitPlan(
        steps=steps,
        batch=batch,
        seed=seed,
        device=str(torch_device(device)),
        learning_rate=learning_rate,
        max_seconds=max_seconds,
    )
    with Progress(console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task("training", total=steps)

        def show(done: int, value: float) -> None:
            bar.update(line, completed=done, description=f"training, {value:.4f}")

        fitted = chosen.fit(setup, plan, progress=show)
    path = out or Path(f"{solver}-seed{seed}")
    command = shlex.join(["isac", *sys.argv[1:]])
    manifest = save_weights(path, fitted, solver=solver, problem=setup, plan=plan, command=command)
    if as_json:
        print_json(manifest)
        return
    grid = plain_table("held-out result", "value")
    for name, value in fitted.results.items():
        grid.add_row(name, f"{value:.6g}")
    Console().print(grid)
    Console().print(f"{fitted.steps} steps in {duration(fitted.seconds)}; saved to {path}.*")


def _figures(
    problem: Annotated[str, typer.Argument(metavar="PROBLEM", help="Problem name; see isac list.")],
    out: Annotated[Path, typer.Option(help="Folder for figures, data and verdicts.")] = Path(
        "figures"
    ),
    draws: Annotated[
        int | None, typer.Option(min=1, help="Random draws; default: the figures' own number.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 11,
    as_json: Json = False,
) -> None:
    """Redraw the figures of a paper and check its claims; exit code 1 if one no longer holds.

    \b
    Examples:
      isac figures power-control --out figures
      isac figures power-control --draws 1000 --json
    """  # noqa: D301 - the help renderer wants the \b character
    name = family(problem).name
    points = list(entry_points(group="isac_gym.figures", name=name))
    if not points:
        raise ScenarioError(f"{name} has no figures.")
    make_figures, number = points[0].load(), {} if draws is None else {"draws": draws}
    with Console(stderr=True).status("drawing instances") as status:
        verdicts = make_figures(out, **number, seed=seed, progress=status.update)
    if as_json:
        fields = ("id", "verdict", "holds", "claim", "source", "measured", "expected")
        report = [{field: getattr(v, field) for field in fields} for v in verdicts]
        print_json({"problem": name, "verdicts": report})
    else:
        _print_verdicts(verdicts, out)
    if not all(verdict.holds for verdict in verdicts):
        raise typer.Exit(1)


def _parse_solver(problem: str, text: str) -> "Solver":
    from baselines.registry import make_solver

    name, _, fields = text.partition(":")
    return make_solver(
        problem, name, **assignments("--solver", fields.split(",") if fields else None)
    )


def _choose(known: dict[str, Any], field: str, value: str) -> Any:
    if value not in known:
        raise ScenarioError(f"{field} must be one of {', '.join(known)}; got {value!r}.")
    return known[value]


def _row(
    setup: "Problem",
    instance: "TensorRecord",
    solver: "Solver",
    reference: "Certificate | None",
    iterations: int | None,
    seed: int,
) -> dict[str, Any]:
    """Figures of one solver; a solver that does not apply to the scenario says so in ``error``."""
    from baselines.front import solve
    from isac_gym.core.solution import Budget, Status

    try:
        solution = solve(setup, instance, solver, budget=Budget(iterations=iterations), seed=seed)
    except ScenarioError as err:
        return {"solver": solver.name, "error": str(err)}
    metrics = setup.metrics(instance, solution.decision)
    is_feasible = metrics.violation <= _FEASIBLE
    loss = None
    if reference is not None and bool(is_feasible.any()):
        gap = (reference.bound - metrics.objective)[is_feasible].double()
        loss = {
            "mean": gap.mean().item(),
            "p95": gap.quantile(0.95).item(),
            "max": gap.amax().item(),
        }
    counts = {s.name: int((solution.status == int(s)).sum()) for s in Status}
    return {
        "solver": solver.name,
        "objective": metrics.objective.mean().item(),
        "loss": loss,
        "feasible": is_feasible.double().mean().item(),
        "iterations": solution.iterations.double().mean().item(),
        "seconds_per_instance": solution.seconds / instance.batch_size,
        "status": {name: count for name, count in counts.items() if count},
    }


def _print_rows(rows: list[dict[str, Any]], unit: str, reference: "Certificate | None") -> None:
    numbers = ("objective", "loss", "p95", "max", "feasible", "solved", "time")
    table, remarks = plain_table("solver", *numbers, numeric=numbers), []
    table.padding = (0, 1, 0, 0)
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        if "error" in row:
            table.add_row(row["solver"])
            remarks.append(f"{row['solver']}: {row['error']}")
            continue
        loss, status = row["loss"] or {}, row["status"]
        table.add_row(
            row["solver"],
            f"{row['objective']:.3f}",
            *(_loss(loss.get(name)) for name in ("mean", "p95", "max")),
            f"{100 * row['feasible']:.1f}%",
            f"{100 * status.get('CONVERGED', 0) / sum(status.values()):.1f}%",
            duration(row["seconds_per_instance"]),
        )
        others = {name: count for name, count in status.items() if name != "CONVERGED"}
        remarks += [f"{row['solver']}: {count} {name.lower()}" for name, count in others.items()]
    console = Console()
    console.print(table)
    for remark in remarks:
        console.print(remark)
    kind = "none known" if reference is None else f"{reference.kind}, {reference.source}"
    console.print(f"objective and loss in {unit}: means over instances", style="dim")
    console.print(f"bound: {kind}", style="dim")


def _loss(value: float | None) -> str:
    if value is None:
        return "-"
    return "0" if abs(value) < _ROUNDING else f"{value:.{1 if abs(value) < 0.01 else 3}g}"


def _print_verdicts(verdicts: list[Any], out: Path) -> None:
    table = plain_table("claim", "verdict", "as expected", "measured")
    for verdict in verdicts:
        held = "yes" if verdict.holds else "NO"
        table.add_row(f"{verdict.id}: {verdict.claim}", verdict.verdict, held, verdict.measured)
    console = Console()
    console.print(table)
    console.print(f"written to {out}", style="dim")
