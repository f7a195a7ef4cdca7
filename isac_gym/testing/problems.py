"""Conformance of problems: sampling, evaluation, projection, validation, scenarios."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from isac_gym.core.errors import ShapeError
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.testing.candidates import candidates, clone, random_decision
from isac_gym.testing.common import (
    ROW_TOLERANCE,
    ConformanceError,
    demand,
    demand_raises,
    demand_same_records,
    flat_rows,
    global_state_guard,
)
from isac_gym.testing.cuda import cuda_agrees
from isac_gym.testing.scenarios import scenario_errors, scenario_fields_matter, scenario_presets

__all__ = ["PROBLEM_CHECKS", "check_problem"]

_SEED, _BATCH = 20, 8
_VIOLATION = 1e-9  # largest relative violation of a projected decision
_UNMOVED = 1e-9  # largest relative move of a feasible decision
_GRADIENT_STEP, _GRADIENT_TOLERANCE = 1e-6, 1e-4


def check_problem(problem: Problem) -> None:
    """Run every check of :data:`PROBLEM_CHECKS`.

    Raises:
        ConformanceError: Names the first check that failed, what was expected and what was seen.
    """
    for check in PROBLEM_CHECKS.values():
        check(problem)


def _draw(problem: Problem, batch: int = _BATCH, *, seed: int = _SEED) -> TensorRecord:
    return problem.sample(Streams.from_seed(seed, batch))


def _records(problem: Problem) -> None:
    """Declared types, shapes, dtypes; finite objective and violation >= 0."""
    check, instance = "problem.records", _draw(problem)
    sizes = problem.axis_sizes | {"B": _BATCH}
    demand(instance.dtype == torch.float64, check, "float64 instances", instance.dtype)
    for label, decision in candidates(problem, instance).items():
        metrics = problem.evaluate(instance, decision)
        pairs = (
            (instance, problem.instance_type),
            (decision, problem.decision_type),
            (metrics, problem.metrics_type),
        )
        for record, wanted in pairs:
            demand(type(record) is wanted, check, wanted.__name__, type(record).__name__)
            try:
                record.check(**sizes)
            except ShapeError as error:
                raise ConformanceError(check, "tensors as declared", str(error)) from error
        views = dict(metrics.items())
        for name in ("objective", "violation"):
            demand(name in views, check, f"a metric {name}", sorted(views))
            demand(views[name].shape == (_BATCH,), check, f"{name} (B,)", views[name].shape)
            finite = torch.isfinite(views[name]).all()
            demand(finite, check, f"finite {name}", f"{views[name].tolist()} for {label}")
        demand(
            (views["violation"] >= 0).all(), check, "violation >= 0", views["violation"].tolist()
        )


def _sampling_rows(problem: Problem) -> None:
    """Sampled rows depend on their own stream only: alone, in any batch, in any order."""
    check, whole = "problem.sampling_rows", _draw(problem, 64)
    streams = Streams.from_seed(_SEED, 64)
    same = {"check": check, "expected": "the same instance, bit for bit, in any batch"}
    demand_same_records(_draw(problem, 8), whole[:8], 0.0, **same)
    demand_same_records(problem.sample(streams[5:6]), whole[5:6], 0.0, **same)
    order = _permutation(64)
    demand_same_records(problem.sample(streams[order]), whole[order], 0.0, **same)


def _seeds(problem: Problem) -> None:
    """Same seed, same instance; different seeds, episodes: different instances."""
    check, first = "problem.seeds", _draw(problem, 64)
    demand_same_records(
        first, _draw(problem, 64), 0.0, check=check, expected="the same seed to repeat"
    )
    later = problem.sample(Streams.from_seed(_SEED, 64).next_episode())
    rows = torch.cat([flat_rows(first), flat_rows(later)])
    different = rows.unique(dim=0).shape[0]
    demand(different == 128, check, "128 different instances of 128 seeds and episodes", different)


def _evaluation_rows(problem: Problem) -> None:
    """A row evaluated or projected alone equals the row of the batch; rows permute."""
    instance = _draw(problem)
    order = _permutation(_BATCH)
    for label, decision in candidates(problem, instance).items():
        for name, function in (("evaluate", problem.evaluate), ("project", problem.project)):
            whole = function(instance, decision)
            same = {
                "check": "problem.evaluation_rows",
                "expected": f"{name} of a row to be the same alone and in any batch ({label})",
            }
            for row in (0, _BATCH - 1):
                one = slice(row, row + 1)
                alone = function(instance[one], decision[one])
                demand_same_records(alone, whole[one], ROW_TOLERANCE, **same)
            permuted = function(instance[order], decision[order])
            demand_same_records(permuted, whole[order], ROW_TOLERANCE, **same)


def _meta(problem: Problem) -> None:
    """``evaluate`` and ``project`` run on ``device="meta"``: no host synchronisation."""
    check, instance = "problem.meta", _draw(problem)
    decision = problem.floor(instance)
    for name, function in (("evaluate", problem.evaluate), ("project", problem.project)):
        try:
            result = function(instance.to("meta"), decision.to("meta"))
        except Exception as error:
            seen = f"{type(error).__name__}: {error}"
            raise ConformanceError(check, f"{name} to run on meta tensors", seen) from error
        on_meta = all(t.device.type == "meta" for _, t in result.items())
        demand(on_meta, check, f"{name} to stay on the device", result.device)
        wanted = {n: (t.shape, t.dtype) for n, t in function(instance, decision).items()}
        seen = {n: (t.shape, t.dtype) for n, t in result.items()}
        demand(seen == wanted, check, f"{name} to give the same shapes and dtypes", seen)


def _projection(problem: Problem) -> None:
    """Projected decisions are valid and feasible; feasible decisions stay where they are."""
    check, instance = "problem.projection", _draw(problem, 16)
    reference = problem.metrics(instance, problem.floor(instance)).violation
    can = reference <= _VIOLATION
    demand(can.any(), check, "a feasible floor in some lane", f"violations {reference.tolist()}")
    instance = instance[can]
    for label, raw in candidates(problem, instance).items():
        once = problem.project(instance, raw)
        try:
            problem.validate(instance, once)
        except ShapeError as error:
            raise ConformanceError(check, f"a valid decision ({label})", str(error)) from error
        violation = problem.metrics(instance, once).violation
        most = float(violation.max())
        demand(most <= _VIOLATION, check, f"violation <= {_VIOLATION:g} ({label})", f"{most:.3g}")
        twice = problem.project(instance, once)
        expected = f"a second projection to change nothing ({label})"
        demand_same_records(once, twice, _UNMOVED, check=check, expected=expected)
        is_inside = problem.metrics(instance, raw).violation == 0
        if is_inside.any():
            expected = f"feasible decisions to stay unmoved ({label})"
            kept = once[is_inside]
            demand_same_records(raw[is_inside], kept, _UNMOVED, check=check, expected=expected)


def _gradients(problem: Problem) -> None:
    """Autograd of objective and violation agrees with central differences, and is finite."""
    instance = _draw(problem, 4)
    names = [
        n for n, t in problem.floor(instance).items() if t.is_floating_point() or t.is_complex()
    ]
    inside = problem.project(instance, random_decision(problem, instance, "gradient"))
    outside = random_decision(problem, instance, "gradient/outside")
    for name in names:
        reached = _reached(problem, instance, inside, name)
        for metric in {"objective", "violation"} - set(reached):
            _demand_no_role(problem, instance, inside, name, metric)
        for metric in reached:
            smooth = [
                _compare_gradient(problem, instance, decision, name, metric)
                for decision in (inside, outside)
            ]
            demand(sum(smooth), "problem.gradients", f"{metric} smooth somewhere", "only kinks")
    for label, decision in candidates(problem, instance).items():
        for name in names:
            for metric in _reached(problem, instance, decision, name):
                slope = _autograd(problem, instance, decision, name, metric)
                expected = f"a finite gradient of {metric} at boundaries ({label})"
                finite = torch.isfinite(slope).all()
                demand(finite, "problem.gradients", expected, slope.tolist())


def _reached(
    problem: Problem, instance: TensorRecord, decision: TensorRecord, name: str
) -> list[str]:
    """Which of objective and violation a field of the decision plays a role in; one at least."""
    tensors = dict(clone(decision).items())
    variable = tensors[name].requires_grad_()
    metrics = problem.evaluate(instance, type(decision).from_items(tensors))
    found = []
    for metric in ("objective", "violation"):
        value = getattr(metrics, metric)
        if value.requires_grad:
            slope = torch.autograd.grad(value.sum(), variable, retain_graph=True, allow_unused=True)
            found += [metric] * (slope[0] is not None)
    check, expected = "problem.gradients", f"objective or violation to be differentiable by {name}"
    demand(found, check, expected, "no graph")
    return found


def _demand_no_role(
    problem: Problem, instance: TensorRecord, decision: TensorRecord, name: str, metric: str
) -> None:
    """A metric without a graph to a field must not change with the field either."""
    other = random_decision(problem, instance, "gradient/other")
    tensors = dict(decision.items()) | {name: dict(other.items())[name]}
    before = getattr(problem.evaluate(instance, decision), metric)
    after = getattr(problem.evaluate(instance, type(decision).from_items(tensors)), metric)
    expected = f"{metric} to be differentiable by {name}, or not to depend on it"
    demand(torch.equal(before, after), "problem.gradients", expected, "no graph")


def _autograd(
    problem: Problem, instance: TensorRecord, decision: TensorRecord, name: str, metric: str
) -> Tensor:
    tensors = dict(clone(decision).items())
    variable = tensors[name].requires_grad_()
    value = getattr(problem.evaluate(instance, type(decision).from_items(tensors)), metric)
    demand(value.requires_grad, "problem.gradients", f"{metric} to be differentiable", "no graph")
    return torch.autograd.grad(value.sum(), variable)[0]


def _compare_gradient(
    problem: Problem, instance: TensorRecord, decision: TensorRecord, name: str, metric: str
) -> int:
    """Compare along one random direction; returns the number of lanes that are not at a kink."""
    tensors = dict(decision.items())
    point = tensors[name]
    scale = point.abs().reshape(len(point), -1).amax(1).clamp_min(1e-300)
    streams = Streams.from_seed(_SEED, len(point))
    kind = streams.complex_normal if point.is_complex() else streams.normal
    draw = kind("direction", *point.shape[1:])
    lift = (-1,) + (1,) * (point.ndim - 1)
    direction = draw * scale.reshape(lift)

    def value(step: float) -> Tensor:
        moved = type(decision).from_items(tensors | {name: point + step * direction})
        return getattr(problem.evaluate(instance, moved), metric)

    numeric = (value(_GRADIENT_STEP) - value(-_GRADIENT_STEP)) / (2 * _GRADIENT_STEP)
    left = (value(0.0) - value(-_GRADIENT_STEP)) / _GRADIENT_STEP
    right = (value(_GRADIENT_STEP) - value(0.0)) / _GRADIENT_STEP
    slope = _autograd(problem, instance, decision, name, metric)
    exact = (slope.conj() * direction).real.reshape(len(point), -1).sum(1)
    size = numeric.abs() + value(0.0).abs() * 1e-3 + 1e-12
    is_smooth = (left - right).abs() <= 1e-2 * size  # not at a kink
    error = torch.where(is_smooth, (exact - numeric).abs() / size, 0)
    demand(
        error.max() <= _GRADIENT_TOLERANCE,
        "problem.gradients",
        f"autograd of {metric} by {name} to equal central differences",
        f"{exact.tolist()} against {numeric.tolist()}",
    )
    return int(is_smooth.sum())


def _purity(problem: Problem) -> None:
    """No argument is changed, no global state is touched."""
    check = "problem.purity"
    with global_state_guard(check):
        instance = _draw(problem)
        decision = random_decision(problem, instance, "purity")
        before = clone(instance), clone(decision)
        problem.evaluate(instance, decision)
        problem.project(instance, decision)
        problem.floor(instance)
        problem.validate(instance, problem.project(instance, decision))
    expected = "arguments left alone"
    demand_same_records(before[0], instance, 0.0, check=check, expected=expected)
    demand_same_records(before[1], decision, 0.0, check=check, expected=expected)


def _empty_batch(problem: Problem) -> None:
    """An empty batch gives empty results."""
    check = "problem.empty_batch"
    try:
        instance = problem.sample(Streams.from_seeds([]))
        decision = problem.project(instance, problem.floor(instance))
        problem.validate(instance, decision)
        metrics = problem.metrics(instance, decision)
    except Exception as error:
        seen = f"{type(error).__name__}: {error}"
        raise ConformanceError(check, "empty results of an empty batch", seen) from error
    demand(metrics.objective.shape == (0,), check, "objective (0,)", metrics.objective.shape)


def _input_errors(problem: Problem) -> None:
    """``validate`` refuses wrong shape, kind, device and NaN: ``ShapeError`` naming the field."""
    check, instance = "problem.input_errors", _draw(problem)
    decision = problem.project(instance, random_decision(problem, instance, "errors"))
    for record, build in (
        (instance, lambda bad: (bad, None)),
        (decision, lambda bad: (instance, bad)),
    ):
        for name, tensor in record.items():
            label = f"{type(record).__name__}.{name}"
            for case, bad in _spoiled(tensor).items():
                spoiled = type(record).from_items(dict(record.items()) | {name: bad})
                pair = build(spoiled)
                demand_raises(
                    lambda pair=pair: problem.validate(*pair),
                    ShapeError,
                    "on device" if case == "another device" else label,
                    check=check,
                    case=case,
                )
    short = decision[: _BATCH - 1]
    name = f"{type(decision).__name__}."
    demand_raises(
        lambda: problem.validate(instance, short),
        ShapeError,
        name,
        check=check,
        case="another batch size",
    )


def _spoiled(tensor: Tensor) -> dict[str, Tensor]:
    bad = {
        "an extra axis": tensor[..., None],
        "another device": tensor.to("meta"),
        "another kind": tensor if tensor.dtype == torch.bool else tensor != 0,
    }
    if tensor.dtype == torch.bool:
        bad["another kind"] = tensor.to(torch.float64)
    if tensor.is_floating_point() or tensor.is_complex():
        for label, value in (("NaN", torch.nan), ("infinity", torch.inf)):
            bad[label] = tensor.clone()
            bad[label][-1] = value
    if tensor.ndim > 1:
        bad["another length"] = torch.cat([tensor, tensor], -1)
    return bad


def _float32(problem: Problem) -> None:
    """Single precision in, single precision out, close to double."""
    check, instance = "problem.float32", _draw(problem)
    decision = problem.floor(instance)
    single = problem.evaluate(instance.to(dtype=torch.float32), decision.to(dtype=torch.float32))
    demand(single.dtype == torch.float32, check, "float32 metrics", single.dtype)
    exact = dict(problem.evaluate(instance, decision).items())["objective"]
    error = (dict(single.items())["objective"].double() - exact).abs() / exact.abs().clamp_min(1e-3)
    demand(
        error.max() < 1e-2, check, "the float64 objective within 1 %", f"error {error.max():.2g}"
    )


def _permutation(size: int) -> Tensor:
    return Streams.from_seed(_SEED, size).uniform("permutation").argsort()


PROBLEM_CHECKS: Mapping[str, Callable[[Problem], None]] = MappingProxyType(
    {
        "records": _records,
        "sampling_rows": _sampling_rows,
        "seeds": _seeds,
        "evaluation_rows": _evaluation_rows,
        "meta": _meta,
        "cuda": cuda_agrees,
        "projection": _projection,
        "gradients": _gradients,
        "purity": _purity,
        "empty_batch": _empty_batch,
        "input_errors": _input_errors,
        "float32": _float32,
        "scenario_fields": scenario_fields_matter,
        "scenario_errors": scenario_errors,
        "scenario_presets": scenario_presets,
    }
)
