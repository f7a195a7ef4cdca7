"""Decisions that try to beat a bound, and instances on which bounds tend to break."""

import torch

from baselines.registry import make_solver
from isac_gym.core import Budget, Streams, family
from isac_gym.problems.ota_feel.model import OtaFeelDecision, within_budget


def drawn(preset="small", batch=4, *, seed=1, **changes):
    problem = family("ota_feel").make_problem({"preset": preset, **changes})
    return problem, problem.sample(Streams.from_seed(seed, batch))


def challengers(problem, instance, *, seed=5):
    """Feasible decisions: random, structured and searched ones."""
    i, streams = instance, Streams.from_seed(seed, instance.batch_size)
    shape = problem.floor(instance).precoder.shape[1:]
    budget = i.max_power_w
    found = {"floor": problem.floor(instance)}
    for index in range(4):
        draw = streams.complex_normal(f"challenge {index}", *shape).to(i.channel)
        full = within_budget(1e3 * budget.sqrt()[..., None, None] * draw, budget)
        found[f"random {index}"] = OtaFeelDecision(full)
        found[f"weak {index}"] = OtaFeelDecision(1e-3 * full)
    silent = found["random 0"].precoder.clone()
    silent[:, 1:] = 0
    found["one device"] = OtaFeelDecision(silent)
    short = Budget(iterations=40)
    for name in ("ao", "varpro-lbfgs", "joint-gradient", "sensing-only"):
        solver = make_solver("ota_feel", name)
        found[name] = solver.solve(problem, instance, budget=short, seed=seed).decision
    return found


def excess(problem, instance, bound):
    """Largest objective above a bound (B,) over all challengers, in dB; negative where it holds."""
    worst = torch.full_like(bound, -torch.inf)
    for decision in challengers(problem, instance).values():
        metrics = problem.evaluate(instance, problem.project(instance, decision))
        assert metrics.violation.max() <= 1e-6
        worst = torch.maximum(worst, metrics.objective - bound)
    return worst


def uneven(instance):
    """Budgets, noise and weights of very different sizes, and one device that nobody wants."""
    i = instance
    share = torch.logspace(-3, 2, i.max_power_w.shape[1], dtype=i.dtype)
    weight = i.weight * share.flip(0)[:, None]
    weight[:, 0] = 0
    return i.replace(
        max_power_w=i.max_power_w * share, weight=weight, echo_noise_w=i.echo_noise_w / share
    )
