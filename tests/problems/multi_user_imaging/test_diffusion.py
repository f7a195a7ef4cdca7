import math

import numpy as np
import pytest
import torch

from isac_gym.core import ScenarioError, ShapeError, Streams, family
from isac_gym.physics.graphs import metropolis
from isac_gym.physics.imaging import illuminate
from isac_gym.problems.multi_user_imaging.diffusion import (
    LIMIT,
    DiffusionScenario,
    ImagingDiffusion,
    heard,
    limited,
    onto_simplex,
)
from isac_gym.testing import check_problem
from isac_gym.testing.candidates import random_decision


def make(preset="paper", batch=4, *, seed=3, **changes):
    """Problem and drawn instances."""
    problem = ImagingDiffusion(scenario=DiffusionScenario.preset(preset, **changes))
    return problem, problem.sample(Streams.from_seed(seed, batch))


def uniform(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def admissible(problem, instance, name="test"):
    return problem.project(instance, random_decision(problem, instance, name))


# --- the block, user by user --------------------------------------------------------------------


def by_hand(problem, instance, decision, row):
    """Images after the block of one row, one user and sample at a time."""
    s = problem.scenario
    i = {name: t[row].numpy() for name, t in instance.items()}
    d = {name: t[row].numpy() for name, t in decision.items()}
    users, voxels = i["estimate"].shape
    x = i["estimate"].copy()
    for t in range(len(i["probe"])):
        sent = i["probe"][t] + (i["symbol"][t] * i["beam"] if s.known_symbols else 0)
        v = i["bs_channel"] @ sent
        psi = np.empty_like(x)
        for k in range(users):
            u = i["user_channel"][k] * v
            error = i["received"][t, k] - u @ x[k]
            size = np.maximum(np.abs(x[k]), 1e-300)
            pull = s.max_power_w * d["sparsity"][k] * np.where(x[k] == 0, 0, x[k] / size)
            step = d["step"][k] / (voxels * s.max_power_w)
            psi[k] = x[k] + step * (u.conj() * error - pull)
        for k in range(users):
            talks = [n for n in range(users) if n == k or (d["send"][n] and i["adjacency"][n, k])]
            share = np.array([d["weight"][n, k] for n in talks])
            x[k] = psi[k] if share.sum() == 0 else share @ psi[talks] / share.sum()
    return x


@pytest.mark.parametrize("changes", [{}, {"known_symbols": False}, {"num_samples": 1}])
def test_run__is_what_each_user_does_alone(changes):
    problem, instance = make("small", 6, **changes)
    decision = admissible(problem, instance)
    assert decision.send.any()
    assert not decision.send.all()
    outcome = problem.run(instance, decision)
    for row in range(6):
        expected = by_hand(problem, instance, decision, row)
        np.testing.assert_allclose(outcome.estimate[row].numpy(), expected, atol=1e-10)


def test_run__at_the_default_size():
    problem, instance = make(batch=1)
    decision = admissible(problem, instance)
    expected = by_hand(problem, instance, decision, 0)
    outcome = problem.run(instance, decision)
    np.testing.assert_allclose(outcome.estimate[0].numpy(), expected, atol=1e-10)


def test_run__messages_are_what_is_averaged():
    problem, instance = make("small", 5)
    decision = admissible(problem, instance)
    outcome = problem.run(instance, decision)
    weight = heard(decision.weight, decision.send).to(torch.complex128)
    torch.testing.assert_close(outcome.estimate, weight.mT @ outcome.message)
    silent = decision.replace(send=torch.zeros_like(decision.send))
    alone = problem.run(instance, silent)
    assert torch.equal(alone.estimate, alone.message)


def test_run__users_can_be_renumbered():
    problem, instance = make("small", 3)
    decision = admissible(problem, instance)
    order = torch.tensor([2, 0, 3, 1])
    moved = instance.replace(
        user_channel=instance.user_channel[:, order],
        estimate=instance.estimate[:, order],
        received=instance.received[..., order],
        adjacency=instance.adjacency[:, order][..., order],
    )
    other = decision.replace(
        step=decision.step[:, order],
        send=decision.send[:, order],
        sparsity=decision.sparsity[:, order],
        weight=decision.weight[:, order][..., order],
    )
    there, here = problem.run(moved, other), problem.run(instance, decision)
    torch.testing.assert_close(there.estimate, here.estimate[:, order], rtol=0, atol=1e-12)


def test_run__is_linear_without_sparsity():
    problem, instance = make("small", 3)
    decision = admissible(problem, instance)
    decision = decision.replace(sparsity=torch.zeros_like(decision.sparsity))
    factor = 0.3 - 0.4j
    scaled = instance.replace(
        received=factor * instance.received, estimate=factor * instance.estimate
    )
    here, there = problem.run(instance, decision), problem.run(scaled, decision)
    torch.testing.assert_close(there.estimate, factor * here.estimate)


def test_run__symbols_help_only_who_knows_them():
    problem, instance = make(batch=8)
    deaf = ImagingDiffusion(scenario=DiffusionScenario.preset("unknown-symbols"))
    floor = problem.floor(instance)
    known, unknown = (p.evaluate(instance, floor).objective for p in (problem, deaf))
    late = instance.elapsed >= 375  # well adapted: interference costs most
    assert late.any()
    assert (known > unknown)[late].all()
    blind = instance.replace(symbol=-instance.symbol)
    assert torch.equal(deaf.evaluate(blind, floor).objective, unknown)
    assert not torch.equal(problem.evaluate(blind, floor).objective, known)
    lit = illuminate(instance.bs_channel, instance.probe)
    assert torch.equal(deaf.known_illumination(instance), lit)


@pytest.mark.parametrize("num_samples", [25, 400])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_run__diverging_images_meet_the_limit(num_samples, dtype):
    problem, instance = make("small", 16, num_samples=num_samples)
    instance = instance.to(dtype=dtype)
    wild = problem.floor(instance)
    wild = wild.replace(step=wild.step * 1e9, send=torch.zeros_like(wild.send))
    loud = instance.replace(received=100 * instance.received)
    metrics = problem.evaluate(loud, wild)
    for name, tensor in metrics.items():
        assert tensor.isfinite().all(), name
    estimate = problem.run(loud, wild).estimate
    assert float(estimate.abs().max()) <= LIMIT * (1 + 1e-6)
    assert float(estimate.abs().max()) > LIMIT / 2
    problem.validate(loud.replace(estimate=estimate))


def test_limited__cuts_moduli_only():
    value = torch.tensor([[3 + 4j, 30 - 40j, 0j, LIMIT * 1j]], dtype=torch.complex128)
    expected = torch.tensor([[3 + 4j, 6 - 8j, 0j, 10j]], dtype=torch.complex128)
    torch.testing.assert_close(limited(value), expected)


# --- weights ------------------------------------------------------------------------------------


def test_onto_simplex__is_the_nearest_point():
    value, mask = 4 * uniform(1, 50, 7) - 2, uniform(2, 50, 7) < 0.6
    mask[:, 0] = True
    nearest = onto_simplex(value, mask)
    assert (nearest >= 0).all()
    assert not nearest[~mask].any()
    torch.testing.assert_close(nearest.sum(-1), torch.ones(50, dtype=torch.float64))
    for seed in range(40):  # no other point of the simplex is nearer
        other = torch.where(mask, uniform(10 + seed, 50, 7) ** (seed / 4), 0)
        other = other / other.sum(-1, keepdim=True)
        gap, rival = (
            torch.where(mask, value - point, 0).square().sum(-1) for point in (nearest, other)
        )
        assert (gap <= rival + 1e-12).all()
    torch.testing.assert_close(onto_simplex(nearest, mask), nearest, rtol=0, atol=1e-15)


def test_onto_simplex__known_points():
    everywhere = torch.ones(3, 3, dtype=torch.bool)
    value = torch.tensor([[0.0, 0, 0], [5, 0, 0], [0.6, 0.6, -9]], dtype=torch.float64)
    expected = torch.tensor([[1 / 3] * 3, [1, 0, 0], [0.5, 0.5, 0]], dtype=torch.float64)
    torch.testing.assert_close(onto_simplex(value, everywhere), expected)


def test_heard__renormalises_over_senders():
    weight = torch.tensor([[[0.5, 0.2, 0.0], [0.3, 0.8, 0.0], [0.2, 0.0, 1.0]]])
    send = torch.tensor([[True, False, True]])
    expected = torch.tensor([[[5 / 7, 0.2, 0.0], [0.0, 0.8, 0.0], [2 / 7, 0.0, 1.0]]])
    torch.testing.assert_close(heard(weight, send), expected)
    selfless = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    alone = heard(selfless, torch.tensor([[False, True]]))  # the second hears nobody
    torch.testing.assert_close(alone, torch.tensor([[[0.0, 0.0], [1.0, 1.0]]]))


def test_metropolis__is_admissible():
    problem, instance = make(batch=8)
    floor = problem.floor(instance)
    torch.testing.assert_close(floor.weight, metropolis(instance.adjacency))
    assert float(problem.evaluate(instance, floor).violation.max()) < 1e-12


def entry(tensor, index, value):
    changed = tensor.clone()
    changed[(slice(None), *index)] += value
    return changed


def test_violation__says_how_far_off():
    problem, instance = make("small", 4)
    base = problem.floor(instance)
    path = torch.zeros(4, 4, 4, dtype=torch.bool)
    path[:, range(3), range(1, 4)] = True
    instance = instance.replace(adjacency=path | path.mT)
    base = base.replace(weight=torch.eye(4, dtype=torch.float64).expand(4, -1, -1))
    assert not problem.evaluate(instance, base).violation.any()
    cases = {
        "not stochastic": (base.replace(weight=1.25 * base.weight), 0.25),
        "negative": (
            base.replace(weight=entry(entry(base.weight, (0, 1), -0.5), (1, 1), 0.5)),
            0.5,
        ),
        "no link": (
            base.replace(weight=entry(entry(base.weight, (3, 0), 0.4), (0, 0), -0.4)),
            0.4,
        ),
        "large step": (base.replace(step=entry(base.step * 0 + 0.6, (2,), 2.4)), 1.0),
        "small step": (base.replace(step=entry(base.step * 0 + 0.05, (2,), -0.02)), 0.4),
        "negative step": (base.replace(step=entry(base.step * 0 + 0.05, (2,), -0.1)), 2.0),
        "much sparsity": (base.replace(sparsity=entry(base.sparsity * 0, (1,), 0.06)), 0.2),
        "negative sparsity": (base.replace(sparsity=entry(base.sparsity * 0, (1,), -0.01)), 0.2),
    }
    for label, (decision, expected) in cases.items():
        found = problem.evaluate(instance, decision)
        wanted = torch.full((4,), expected, dtype=torch.float64)
        torch.testing.assert_close(found.violation, wanted, msg=label)
        repaired = problem.project(instance, decision)
        assert float(problem.evaluate(instance, repaired).violation.max()) <= 1e-12, label
        same = problem.evaluate(instance, repaired).objective
        torch.testing.assert_close(found.objective, same, msg=label)  # run as repaired


# --- scores -------------------------------------------------------------------------------------


def test_score__by_definition():
    problem, instance = make("small", 5)
    decision = admissible(problem, instance)
    after, x = problem.run(instance, decision).estimate, instance.image[:, None]
    found = problem.evaluate(instance, decision)
    energy = instance.image.abs().square().sum(-1)
    off = (after - x).abs().square().sum(-1)
    torch.testing.assert_close(found.msd_user, off)
    torch.testing.assert_close(found.msd, off.mean(-1))
    torch.testing.assert_close(found.objective, 10 * (energy / off.mean(-1)).log10())
    before = (instance.estimate - x).abs().square().sum(-1).mean(-1)
    torch.testing.assert_close(found.gain_db, 10 * (before / off.mean(-1)).log10())
    spread = (after - after.mean(1, keepdim=True)).abs().square().sum(-1).mean(-1)
    torch.testing.assert_close(found.disagreement, spread)


def test_score__counts_every_directed_link_and_sample():
    problem, instance = make("small", 3)
    decision = problem.floor(instance)
    s = problem.scenario
    full = 2 * s.num_edges * s.num_voxels * s.num_samples
    found = problem.evaluate(instance, decision)
    assert found.scalars.tolist() == [full] * 3
    assert found.cost_share.tolist() == [1.0] * 3
    one = decision.replace(send=torch.eye(4, dtype=torch.bool)[:1].expand(3, -1))
    links = instance.adjacency[:, 0].sum(-1)
    found = problem.evaluate(instance, one)
    assert found.scalars.tolist() == (links * s.num_voxels * s.num_samples).tolist()
    torch.testing.assert_close(found.cost_share, links / (2 * s.num_edges), check_dtype=False)
    none = decision.replace(send=torch.zeros_like(decision.send))
    assert not problem.evaluate(instance, none).scalars.any()


def test_score__of_an_unknown_image_is_finite():
    problem, instance = make("small", 3)
    empty = instance.replace(image=torch.zeros_like(instance.image))
    metrics = problem.evaluate(empty, problem.floor(empty))
    for name, tensor in metrics.items():
        assert tensor.isfinite().all(), name


def test_residual__is_the_mean_error_power():
    problem, instance = make("small", 2)
    sent = instance.probe + instance.symbol[..., None] * instance.beam[:, None]
    v = torch.einsum("bvn,bln->blv", instance.bs_channel, sent)
    model = torch.einsum("bkv,blv,bkv->blk", instance.user_channel, v, instance.estimate)
    expected = (instance.received - model).abs().square().mean(1)
    torch.testing.assert_close(problem.residual(instance, instance.estimate), expected)
    truth = instance.image[:, None].expand(-1, 4, -1)
    many = make(batch=32)
    noise = many[0].residual(many[1], many[1].image[:, None].expand(-1, 20, -1)).mean()
    assert float(noise) == pytest.approx(many[0].scenario.noise_w, rel=0.03)
    assert (problem.residual(instance, truth) < problem.residual(instance, 0 * truth)).all()


# --- draws --------------------------------------------------------------------------------------


def test_sample__is_a_block_of_a_run():
    problem, instance = make(batch=256)
    block = instance.elapsed // 25
    assert set(block.tolist()) <= set(range(30))
    assert len(set(block.tolist())) > 25
    off = (instance.estimate - instance.image[:, None]).abs().square().sum(-1).mean(-1)
    level = 10 * (instance.image.abs().square().sum(-1) / off).log10()
    torch.testing.assert_close(level, block.double(), rtol=0, atol=2.0)
    assert not instance.estimate[block == 0].any()
    assert instance.estimate[block > 0].any(-1).all()
    start = problem.begin(Streams.from_seed(3, 256))
    assert not start.estimate.any()
    assert not start.elapsed.any()
    for name in ("image", "received", "adjacency"):
        assert torch.equal(getattr(start, name), getattr(instance, name)), name


def test_sample__follows_the_signal_model():
    _, instance = make("small", 2, snr_db=60.0)
    sent = instance.probe + instance.symbol[..., None] * instance.beam[:, None]
    v = torch.einsum("bvn,bln->blv", instance.bs_channel, sent)
    clean = torch.einsum("bkv,blv,bv->blk", instance.user_channel, v, instance.image)
    torch.testing.assert_close(instance.received, clean, rtol=0, atol=0.03)


def test_scenario__energies():
    s = DiffusionScenario()
    assert s.regressor_energy == 320.0
    assert s.num_samples == 25
    problem, instance = make(batch=64)
    lit = problem.known_illumination(instance)
    energy = torch.einsum("blv,bkv->blk", lit.abs().square(), instance.user_channel.abs().square())
    assert float(energy.mean()) == pytest.approx(320.0, rel=0.1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_samples", 0),
        ("num_samples", 1001),
        ("known_symbols", "yes"),
        ("mean_degree", 1.0),
        ("snr_db", 61.0),
        ("num_users", 1),
    ],
)
def test_scenario__refuses(field, value):
    with pytest.raises(ScenarioError, match=field):
        DiffusionScenario(**{field: value})


# --- bad input ----------------------------------------------------------------------------------


def spoiled(instance):
    """Bad instances by the field that is to be named, and the words."""
    one_way = instance.adjacency.clone()
    one_way[1, 0, 1:] = False
    loop = instance.adjacency.clone()
    loop[1, 2, 2] = True
    apart = torch.zeros_like(instance.adjacency)
    return {
        "adjacency: must be symmetric; row 1": instance.replace(adjacency=one_way),
        "adjacency: must be without links": instance.replace(adjacency=loop),
        "adjacency: must be connected; row 0": instance.replace(adjacency=apart),
        "image: must be passive": instance.replace(image=instance.image * 3),
        "estimate: must be limited": instance.replace(estimate=instance.estimate + 11),
        "elapsed: must be >= 0": instance.replace(elapsed=instance.elapsed - 1000),
        "symbol: must be of at most unit": instance.replace(symbol=instance.symbol * 1.1),
        "received: non-finite": instance.replace(received=instance.received * math.nan),
    }


def test_validate__names_the_field():
    problem, instance = make("small", 3)
    problem.validate(instance)
    for words, bad in spoiled(instance).items():
        with pytest.raises(ShapeError, match=f"ImagingDiffusionInstance.{words}"):
            problem.validate(bad)
    decision = problem.floor(instance)
    for words, bad in {
        "weight: shape": decision.replace(weight=decision.weight[:, :2]),
        "weight: non-finite": decision.replace(weight=decision.weight / 0),
        "send: dtype": decision.replace(send=decision.step),
        "step: shape": decision.replace(step=decision.step[:, :1]),
    }.items():
        with pytest.raises(ShapeError, match=f"ImagingDiffusionDecision.{words}"):
            problem.validate(instance, bad)


def test_small__conforms():
    check_problem(family("imaging_diffusion").make_problem("small"))
