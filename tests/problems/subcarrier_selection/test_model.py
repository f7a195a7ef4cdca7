"""Masks and their errors against loops; what leaks; what must not matter; what is refused."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.kernel_ridge import KernelRidge

from isac_gym.core import ScenarioError, ShapeError, Streams
from isac_gym.problems.subcarrier_selection.model import (
    SubcarrierDecision,
    SubcarrierSelection,
    select_tones,
)
from isac_gym.problems.subcarrier_selection.scenario import EVALUATORS, SubcarrierScenario
from isac_gym.problems.subcarrier_selection.world import World
from tests.oracles import subcarrier as csi_oracle
from tests.oracles import subcarrier_masks as oracle

BRIEF = {"num_train": 40, "num_held_out": 24}
HELD = ("val", "score")


def make(preset="small-16", **changes):
    return SubcarrierSelection(scenario=SubcarrierScenario.preset(preset, **changes))


def draw(problem, batch=2, *, seed=5):
    return problem.sample(Streams.from_seed(seed, batch))


def decide(problem, instance, *, seed=8):
    """A random allowed mask for every room."""
    s, streams = problem.scenario, Streams.from_seed(seed, instance.batch_size)
    scores = streams.uniform("mask", s.num_tones)
    return SubcarrierDecision(select_tones(scores, s.min_tones, s.max_tones))


def row_of(instance, row):
    return {name: t[row].numpy() for name, t in instance.items()}


# --- instances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("features", ["calibrated", "window"])
def test_sample__is_standardised_csi_of_labelled_people(features):
    """Every number of an instance from the CSI, by loops."""
    problem = make("tiny-8", features=features, num_train=16, num_held_out=16)
    world, streams = World(problem.scenario), Streams.from_seed(5, 2)
    instance, room = problem.sample(streams), world.room(streams)
    raw, labels = {}, {}
    for split in ("train", "val", "score"):
        people = world.people(streams, room, split, 16)
        csi = world.csi(streams, room, people, split, 0)[1].numpy()
        if features == "window":
            raw[split] = np.stack([csi_oracle.window(x) for x in csi])
        else:
            empty = room.empty[1].numpy()
            raw[split] = np.stack([csi_oracle.calibrated(x, empty) for x in csi])
        onehot = np.eye(3)[people.activity[1].numpy()]
        labels[split] = np.concatenate([people.place[1].numpy(), onehot], 1)
    mean = labels["train"].mean(0)
    scale = []
    for entries in ([0, 1], [2, 3, 4]):
        total = sum(((labels["train"][:, y] - mean[y]) ** 2).mean() for y in entries)
        scale += [math.sqrt(total)] * len(entries)
    found = row_of(instance, 1)
    assert np.allclose(found["label_mean"], mean)
    assert np.allclose(found["label_scale"], scale)
    for split in raw:
        wanted = csi_oracle.standardised(raw[split], raw["train"])
        assert np.allclose(found[split], wanted, rtol=1e-7, atol=1e-7)
        assert np.allclose(found[f"{split}_label"], (labels[split] - mean) / scale)


def test_sample__training_labels_are_centred_and_of_unit_energy():
    i = draw(make("tiny-8"), 4)
    for task in (i.train_label[..., :2], i.train_label[..., 2:]):
        assert torch.allclose(task.mean(1), torch.zeros(()).double(), atol=1e-12)
        assert torch.allclose(task.square().sum(-1).mean(1), torch.ones(()).double())


@pytest.mark.parametrize("preset", ["tiny-8", "small-16", "tracking"])
def test_sample__no_label_of_a_place_is_in_two_splits(preset):
    i = draw(make(preset), 3)
    for row in range(3):
        sets = []
        for split in ("train", *HELD):
            place = getattr(i, f"{split}_label")[row, :, :2] * i.label_scale[row, :2]
            sets.append({tuple(p) for p in place.div(0.01).round().tolist()})
        assert sum(map(len, sets)) == len(set.union(*sets))


def test_sample__repeats_and_lanes_stand_alone():
    problem = make("tiny-8")
    every, alone = draw(problem, 3), draw(problem, 1, seed=6)
    for name, tensor in every.items():
        assert torch.allclose(tensor[1:2], getattr(alone, name), rtol=1e-12, atol=1e-12), name
    assert all(torch.equal(t, getattr(draw(problem, 3), name)) for name, t in every.items())


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("evaluator", ["kernel_ridge", "soft_neighbours"])
def test_evaluate__equals_a_loop(evaluator):
    problem = make("tiny-8", num_train=30, num_held_out=20, evaluator=evaluator)
    instance = draw(problem)
    decision = decide(problem, instance)
    metrics = problem.evaluate(instance, decision)
    function = {"kernel_ridge": oracle.kernel_ridge, "soft_neighbours": oracle.soft_neighbours}
    for row in range(2):
        r, mask = row_of(instance, row), decision.mask[row].numpy()
        prediction = function[evaluator](r["train"], r["train_label"], r["score"], mask)
        wanted = oracle.errors(prediction, r["score_label"], r["label_mean"], r["label_scale"])
        names = ("error_location", "error_sensing", "location_rmse_m", "accuracy")
        found = [float(getattr(metrics, name)[row]) for name in names]
        assert found == pytest.approx(list(wanted), rel=1e-9)
        mean = (wanted[0] + wanted[1]) / 2
        assert float(metrics.error[row]) == pytest.approx(mean, rel=1e-9)
        assert float(metrics.objective[row]) == pytest.approx(1 - mean, rel=1e-9)
        assert float(metrics.num_selected[row]) == mask.sum()


def test_evaluate__equals_scikit_learn():
    problem = make("small-16")
    instance = draw(problem)
    decision = decide(problem, instance)
    metrics = problem.evaluate(instance, decision)
    for row in range(2):
        r, mask = row_of(instance, row), decision.mask[row].numpy()
        x, y = (r[k][:, mask].reshape(len(r[k]), -1) for k in ("train", "score"))
        model = KernelRidge(alpha=0.2, kernel="rbf", gamma=0.3 / x.shape[1])
        prediction = model.fit(x, r["train_label"]).predict(y)
        wanted = oracle.errors(prediction, r["score_label"], r["label_mean"], r["label_scale"])
        assert float(metrics.error_location[row]) == pytest.approx(wanted[0], rel=1e-6)
        assert float(metrics.error_sensing[row]) == pytest.approx(wanted[1], rel=1e-6)
        assert float(metrics.accuracy[row]) == wanted[3]


def test_mask_errors__are_those_of_evaluate_for_every_mask_and_chunk():
    problem = make("tiny-8")
    instance = draw(problem, 3)
    masks = torch.stack([decide(problem, instance, seed=n).mask for n in range(7)], 1)
    errors = problem.mask_errors(instance, masks)
    assert errors.shape == (3, 7, 2)
    for n in range(7):
        metrics = problem.evaluate(instance, SubcarrierDecision(masks[:, n]))
        assert torch.allclose(errors[:, n, 0], metrics.error_location, rtol=1e-12)
        assert torch.allclose(errors[:, n, 1], metrics.error_sensing, rtol=1e-12)
    known = problem.mask_errors(problem.known(instance), masks)
    swapped = instance.replace(score=instance.val, score_label=instance.val_label)
    assert torch.equal(known, problem.mask_errors(swapped, masks))
    assert not torch.allclose(known, errors)


def test_evaluate__of_the_probe_is_a_training_error_with_penalty():
    problem = make("tiny-8", evaluator="convex_probe")
    instance = draw(problem)
    some, metrics = decide(problem, instance), []
    for changed in (instance, problem.known(instance)):
        metrics.append(problem.evaluate(changed, some))
    assert torch.equal(metrics[0].error, metrics[1].error)
    assert ((metrics[0].error > 0) & (metrics[0].error < 1)).all()
    assert not torch.equal(metrics[0].accuracy, metrics[1].accuracy)


# --- selections ---------------------------------------------------------------------------------


@given(
    scores=arrays.arrays(float, st.integers(1, 10), elements=st.floats(-1, 2)),
    data=st.data(),
)
def test_select__is_the_nearest_allowed_mask(scores, data):
    size = len(scores)
    least = data.draw(st.integers(0, size))
    most = data.draw(st.integers(least, size))
    found = select_tones(torch.tensor(scores), least, most).numpy().astype(float)
    best, _ = oracle.nearest(scores, least, most)
    assert least <= found.sum() <= most
    assert sum((found - scores) ** 2) <= best + 1e-12


def test_select__ties_go_to_the_first_and_a_half_is_not_selected():
    scores = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.9, 0.9, 0.9, 0.9]])
    found = select_tones(scores, 1, 3)
    assert found.tolist() == [[True, False, False, False], [True, True, True, False]]


@given(mask=st.lists(st.booleans(), min_size=8, max_size=8))
def test_project__is_nearest_idempotent_and_leaves_allowed_masks(mask):
    problem = make("tiny-8")
    instance = STILL["tiny-8"]
    once = problem.project(instance, SubcarrierDecision(torch.tensor([mask])))
    assert torch.equal(once.mask, problem.project(instance, once).mask)
    best, _ = oracle.nearest(np.array(mask, float), 3, 4)
    assert int((once.mask[0] != torch.tensor(mask)).sum()) == best
    if 3 <= sum(mask) <= 4:
        assert once.mask[0].tolist() == mask
    assert float(problem.evaluate(instance, once).violation[0]) == 0


@pytest.mark.parametrize(
    ("count", "violation"), [(0, 1), (1, 5 / 6), (6, 0), (8, 0), (10, 1 / 4), (16, 1)]
)
def test_violation__is_the_relative_excess_over_a_limit(count, violation):
    problem = make()
    mask = (torch.arange(16) < count)[None]
    metrics = problem.evaluate(STILL["small-16"], SubcarrierDecision(mask))
    assert float(metrics.violation[0]) == pytest.approx(violation)
    assert metrics.objective.isfinite().all()


@pytest.mark.parametrize("preset", SubcarrierScenario.presets)
def test_floor__is_an_allowed_mask_that_knows_nothing(preset):
    problem = make(preset, **BRIEF)
    instance = draw(problem, 2)
    mask = problem.floor(instance).mask
    assert torch.equal(mask.sum(1), torch.full((2,), problem.scenario.max_tones))
    assert torch.equal(mask[0], mask[1])
    gaps = mask[0].nonzero()[:, 0].diff()
    assert int(gaps.max() - gaps.min()) <= 1  # evenly spaced


# --- leaks --------------------------------------------------------------------------------------


def shuffled(labels, seed):
    """Labels (B, N, Y) in random order within each room, independently for both tasks."""
    rng = np.random.default_rng(seed)
    out = labels.clone()
    for row in range(len(labels)):
        for entries in (slice(0, 2), slice(2, None)):
            order = torch.as_tensor(rng.permutation(labels.shape[1]))
            out[row, :, entries] = labels[row, order, entries]
    return out


@pytest.mark.parametrize("preset", ["small-16", "paper", "commodity"])
def test_leak__permuted_labels_cannot_be_learnt(preset):
    """Nothing else than the features tells the labels of the scored windows."""
    problem = make(preset)
    instance = draw(problem, 4)
    blind = instance.replace(train_label=shuffled(instance.train_label, 1))
    floor = problem.floor(instance)
    error = problem.evaluate(blind, floor).error
    assert (error >= 0.95).all()
    assert (problem.evaluate(instance, floor).error < 0.93 * error).all()


def test_leak__four_links_locate_and_that_is_no_leak():
    """Two ellipses around a common focus meet twice, four of them once: errors far below 0.5."""
    problem = make("small-16", num_links=4)
    instance = draw(problem, 4)
    floor = problem.floor(instance)
    blind = instance.replace(train_label=shuffled(instance.train_label, 1))
    assert (problem.evaluate(instance, floor).error_location < 0.25).all()
    assert (problem.evaluate(blind, floor).error_location >= 0.95).all()


def test_leak__unused_subcarriers_tell_nothing():
    problem = make("paper")
    instance = draw(problem, 4)
    null = problem.scenario.null.repeat(2)
    nulls = SubcarrierDecision(null.repeat(4, 1))
    assert (problem.evaluate(instance, nulls).error >= 0.95).all()


def test_leak__a_leaking_split_would_be_seen():
    """The checks above can fail: windows of known places, or of the training itself, score well."""
    problem = make("small-16")
    instance = draw(problem, 2)
    leaking = instance.replace(
        score=instance.train[:, :160], score_label=instance.train_label[:, :160]
    )
    floor = problem.floor(instance)
    fair, unfair = (problem.evaluate(i, floor).error for i in (instance, leaking))
    assert (unfair < 0.6 * fair).all()
    blind = leaking.replace(train_label=shuffled(instance.train_label, 1))
    blind = blind.replace(score_label=blind.train_label[:, :160])
    assert not (problem.evaluate(blind, floor).error >= 0.95).all()


def test_known__contains_nothing_of_the_scored_windows():
    problem = make("tiny-8")
    instance = draw(problem)
    noise = torch.full_like(instance.score, 9.0), torch.full_like(instance.score_label, -9.0)
    other = instance.replace(score=noise[0], score_label=noise[1])
    for name, tensor in problem.known(instance).items():
        assert torch.equal(tensor, getattr(problem.known(other), name)), name


# --- what must not matter -----------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["tiny-8", "tracking", "probe-16"])
def test_relabelling__subcarriers_jointly_leaves_the_error_unchanged(preset):
    problem = make(preset, **BRIEF)
    instance = draw(problem)
    decision = decide(problem, instance)
    order = torch.as_tensor(np.random.default_rng(2).permutation(problem.scenario.num_tones))
    moved = instance.replace(
        **{split: getattr(instance, split)[:, :, order] for split in ("train", *HELD)}
    )
    before = problem.evaluate(instance, decision)
    after = problem.evaluate(moved, SubcarrierDecision(decision.mask[:, order]))
    for name, tensor in before.items():
        assert torch.allclose(tensor, getattr(after, name), rtol=1e-6, atol=1e-9), name


def test_subcarriers__that_are_not_selected_do_not_matter():
    problem = make("tiny-8", **BRIEF)
    instance = draw(problem)
    decision = decide(problem, instance)
    off = ~decision.mask[:, None, :, None]
    wild = {k: getattr(instance, k).where(~off, 4.0) for k in ("train", *HELD)}
    before, after = (
        problem.evaluate(instance, decision),
        problem.evaluate(instance.replace(**wild), decision),
    )
    assert torch.allclose(before.error, after.error, rtol=1e-9)


def test_windows__in_another_order_give_the_same_errors():
    problem = make("tiny-8", **BRIEF)
    instance = draw(problem)
    decision = decide(problem, instance)
    flipped = instance.replace(**{n: t.flip(1) for n, t in instance.items() if t.ndim > 2})
    for name, tensor in problem.evaluate(instance, decision).items():
        assert torch.allclose(tensor, getattr(problem.evaluate(flipped, decision), name)), name


def test_selection__matters():
    """The best of 200 random masks of a room is far better than the worst."""
    problem = make("small-16")
    instance = draw(problem, 2)
    streams = Streams.from_seed(1, 2)
    masks = select_tones(streams.uniform("masks", 200, 16), 6, 8)
    error = problem.mask_errors(instance, masks).mean(-1)
    assert (error.amin(1) < 0.75 * error.amax(1)).all()


# --- refusals -----------------------------------------------------------------------------------

STILL = {preset: draw(make(preset, **BRIEF), 1) for preset in ("tiny-8", "small-16")}
BAD_MASKS = {
    "numbers": (torch.full((1, 8), 0.5).double(), "mask.*bool"),
    "indices": (torch.zeros(1, 8, dtype=torch.int64), "mask.*bool"),
    "too few": (torch.zeros(1, 7, dtype=torch.bool), "mask.*(7|S)"),
    "too many rooms": (torch.zeros(3, 8, dtype=torch.bool), "mask.*(3|B)"),
    "no batch": (torch.zeros(8, dtype=torch.bool), "mask"),
}


@pytest.mark.parametrize("case", BAD_MASKS)
def test_validate__refuses_masks(case):
    mask, words = BAD_MASKS[case]
    with pytest.raises(ShapeError, match=words):
        make("tiny-8", **BRIEF).validate(STILL["tiny-8"], SubcarrierDecision(mask))


def spoil(field, change):
    return STILL["tiny-8"].replace(**{field: change(getattr(STILL["tiny-8"], field).clone())})


BAD_INSTANCES = {
    "nan feature": ("train", lambda x: x.index_fill(1, torch.tensor([3]), math.nan)),
    "infinite label": ("score_label", lambda x: x.index_fill(1, torch.tensor([3]), math.inf)),
    "too few windows": ("val", lambda x: x[:, 1:]),
    "labels of another split": ("train_label", lambda x: x[:, :24]),
    "too many subcarriers": ("score", lambda x: torch.cat([x, x], 2)),
    "no scale": ("label_scale", torch.zeros_like),
    "a task without labels": ("val_label", lambda x: x * torch.tensor([0, 0, 1, 1, 1])),
    "complex": ("train", lambda x: x.to(torch.complex128)),
}


@pytest.mark.parametrize("case", BAD_INSTANCES)
def test_validate__refuses_instances(case):
    field, change = BAD_INSTANCES[case]
    with pytest.raises(ShapeError, match=f"SubcarrierInstance.{field}"):
        make("tiny-8", **BRIEF).validate(spoil(field, change))


def test_validate__accepts_its_own_draws():
    for preset, instance in STILL.items():
        problem = make(preset, **BRIEF)
        problem.validate(instance, problem.floor(instance))


def test_records__say_who_is_wrong_in_another_problem():
    problem = make("tiny-8", **BRIEF)
    with pytest.raises(ShapeError, match="expected a SubcarrierInstance"):
        problem.validate(problem.floor(STILL["tiny-8"]))
    assert dataclasses.is_dataclass(problem)


# --- what is asked for must exist ----------------------------------------------------------------


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_mask_errors__refuse_masks_of_another_size(evaluator):
    problem, instance = make("tiny-8", **BRIEF), STILL["tiny-8"]
    mask = torch.ones(instance.batch_size, 3, 8, dtype=torch.bool)
    for wrong in (mask[..., :7], mask[0], mask.repeat(2, 1, 1)):
        with pytest.raises(ShapeError, match="weight"):
            problem.mask_errors(instance, wrong, evaluator=evaluator)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_mask_errors__of_nothing_are_nothing(evaluator):
    problem, instance = make("tiny-8", evaluator=evaluator, **BRIEF), STILL["tiny-8"]
    none = instance[:0]
    assert problem.mask_errors(instance, torch.ones(instance.batch_size, 0, 8)).shape[1:] == (0, 2)
    assert problem.mask_errors(none, torch.ones(0, 3, 8)).shape == (0, 3, 2)
    assert problem.evaluate(none, problem.floor(none)).error.shape == (0,)


def test_evaluator__that_does_not_exist_is_not_kernel_ridge():
    problem, instance = make("tiny-8", **BRIEF), STILL["tiny-8"]
    mask = problem.floor(instance).mask[:, None]
    for ask in (problem.mask_errors, problem.predict):
        with pytest.raises(ScenarioError, match="evaluator must be one of"):
            ask(instance, mask.to(instance.dtype), evaluator="knn")


@pytest.mark.parametrize("features", ["calibrated", "window"])
def test_sample__does_not_depend_on_torchs_default_type(features):
    problem = make("tiny-8", features=features, **BRIEF)
    usual, before = draw(problem, 1), torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        other = draw(problem, 1)
        errors = problem.evaluate(other, problem.floor(other)).error
    finally:
        torch.set_default_dtype(before)
    assert all(
        torch.equal(a, b) for (_, a), (_, b) in zip(usual.items(), other.items(), strict=True)
    )
    assert torch.equal(errors, problem.evaluate(usual, problem.floor(usual)).error)
