"""Every schedule against the numbers it should give; composition, resuming, errors."""

from __future__ import annotations

import copy
import warnings
from math import cos, pi, sqrt
from typing import Any

import pytest

import minidl
from minidl.optim import SGD, Adam, Optimizer
from minidl.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)


def make(kind: type[Optimizer] = SGD, lr: float = 1.0, **options: Any) -> Optimizer:
    """An optimizer with two groups, with rates lr and lr / 2."""
    a, b = (minidl.zeros(1, requires_grad=True) for _ in range(2))
    return kind([{"params": [a]}, {"params": [b], "lr": lr / 2}], lr=lr, **options)  # type: ignore[call-arg]


def advance(scheduler: LRScheduler, epochs: int, *metric: float) -> list[float]:
    """The rate of the first group in each epoch, beginning with the present one; the second must be half of it."""
    seen = []
    for _ in range(epochs):
        first, second = scheduler.get_last_lr()
        assert second == pytest.approx(first / 2, rel=1e-12)
        assert [group["lr"] for group in scheduler.optimizer.param_groups] == [first, second]
        seen.append(first)
        scheduler.optimizer.step()
        scheduler.step(*metric)
    return seen


def exactly(numbers: list[float]) -> Any:
    return pytest.approx(numbers, rel=1e-12, abs=1e-15)


LINEAR = [0.25, 0.4375, 0.625, 0.8125, 1.0, 1.0, 1.0]
COSINE = [(1 + cos(pi * t / 4)) / 2 for t in range(13)]  # down, up, down

SCHEDULES: dict[str, tuple[Any, list[float]]] = {
    "StepLR": (lambda o: StepLR(o, 2), [1, 1, 0.1, 0.1, 0.01, 0.01]),
    "StepLR-gamma": (lambda o: StepLR(o, step_size=3, gamma=0.5), [1, 1, 1, 0.5, 0.5, 0.5, 0.25]),
    "MultiStepLR": (lambda o: MultiStepLR(o, [4, 1, 1], gamma=0.5), [1, 0.25, 0.25, 0.25, 0.125, 0.125]),
    "ConstantLR": (lambda o: ConstantLR(o), [1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3, 1, 1]),
    "ConstantLR-0": (lambda o: ConstantLR(o, factor=0, total_iters=2), [0, 0, 1, 1]),
    "LinearLR": (lambda o: LinearLR(o, start_factor=0.25, total_iters=4), LINEAR),
    "LinearLR-default": (lambda o: LinearLR(o), [5 / 15, 7 / 15, 9 / 15, 11 / 15, 13 / 15, 1, 1]),
    "LinearLR-down": (lambda o: LinearLR(o, 1.0, 0.0, total_iters=4), [1, 0.75, 0.5, 0.25, 0, 0]),
    "ExponentialLR": (lambda o: ExponentialLR(o, 0.5), [1, 0.5, 0.25, 0.125]),
    "PolynomialLR": (lambda o: PolynomialLR(o), [1, 0.8, 0.6, 0.4, 0.2, 0, 0]),
    "PolynomialLR-2": (lambda o: PolynomialLR(o, 4, power=2), [1, 0.5625, 0.25, 0.0625, 0, 0]),
    "CosineAnnealingLR": (lambda o: CosineAnnealingLR(o, 4), COSINE),
    "LambdaLR": (lambda o: LambdaLR(o, lambda epoch: 1 / (1 + epoch)), [1, 1 / 2, 1 / 3, 1 / 4]),
    "LambdaLR-list": (lambda o: LambdaLR(o, [lambda epoch: epoch, lambda epoch: epoch]), [0, 1, 2, 3]),
    "MultiplicativeLR": (lambda o: MultiplicativeLR(o, lambda epoch: 1 / epoch), [1, 1, 1 / 2, 1 / 6, 1 / 24]),
    "WarmRestarts": (lambda o: CosineAnnealingWarmRestarts(o, 4), COSINE[:4] * 2),
    "WarmRestarts-2": (
        lambda o: CosineAnnealingWarmRestarts(o, 2, T_mult=2),
        [1, 0.5, *COSINE[:4], *((1 + cos(pi * t / 8)) / 2 for t in range(8)), 1],
    ),
    "SequentialLR": (
        lambda o: SequentialLR(o, [ConstantLR(o, 0.5, 9), ExponentialLR(o, 0.5), StepLR(o, 1)], milestones=[2, 4]),
        [0.5, 0.5, 1, 0.5, 1, 0.1, 0.01],
    ),
    "SequentialLR-all": (
        lambda o: SequentialLR(
            o,
            [
                LinearLR(o, 0.25, total_iters=4),
                CosineAnnealingLR(o, 4),
                LambdaLR(o, lambda epoch: 2 + epoch),
                PolynomialLR(o, 4),
                CosineAnnealingWarmRestarts(o, 4),
                MultiplicativeLR(o, lambda epoch: 2),  # goes on from the present rate
            ],
            milestones=[4, 6, 8, 10, 14],
        ),
        [*LINEAR[:4], *COSINE[:2], 2, 3, 1, 0.75, *COSINE[:4], 2 * COSINE[3], 4 * COSINE[3]],
    ),
    "ChainedScheduler": (
        lambda o: ChainedScheduler([ConstantLR(o, 0.5, 2), ExponentialLR(o, 0.5)]),
        [0.5, 0.25, 0.25, 0.125],
    ),
    "Chained-in-Sequential": (
        lambda o: SequentialLR(
            o, [LinearLR(o, 0.5, total_iters=2), ChainedScheduler([ConstantLR(o, 0.5, 2), ExponentialLR(o, 0.5)])], [2]
        ),
        [0.5, 0.75, 0.5, 0.25, 0.25, 0.125],
    ),
    "Sequential-in-Sequential": (
        lambda o: SequentialLR(
            o, [SequentialLR(o, [ConstantLR(o, 0.5), StepLR(o, 1)], [1]), ExponentialLR(o, 0.5)], [3]
        ),
        [0.5, 1, 0.1, 1, 0.5],
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_values(name):
    build, expected = SCHEDULES[name]
    assert advance(build(make()), len(expected)) == exactly(expected)


@pytest.mark.parametrize("name", SCHEDULES)
def test_resuming_is_exact(name):
    build, expected = SCHEDULES[name]
    scheduler = build(make())
    before = advance(scheduler, 3)
    again = build(make(lr=77.0))
    again.load_state_dict(copy.deepcopy(scheduler.state_dict()))
    again.optimizer.load_state_dict(copy.deepcopy(scheduler.optimizer.state_dict()))
    assert again.last_epoch == scheduler.last_epoch == 3
    rest = advance(again, len(expected) - 3)
    assert rest == advance(scheduler, len(expected) - 3)
    assert before + rest == exactly(expected)


@pytest.mark.parametrize(
    "name", ["StepLR", "MultiStepLR", "LinearLR", "ExponentialLR", "CosineAnnealingLR", "WarmRestarts-2"]
)
def test_last_epoch_resumes(name):
    build, expected = SCHEDULES[name]
    scheduler = build(make())
    advance(scheduler, 3)
    optimizer = scheduler.optimizer
    kinds: dict[str, Any] = {
        "StepLR": lambda: StepLR(optimizer, 2, last_epoch=2),
        "MultiStepLR": lambda: MultiStepLR(optimizer, [4, 1, 1], gamma=0.5, last_epoch=2),
        "LinearLR": lambda: LinearLR(optimizer, 0.25, total_iters=4, last_epoch=2),
        "ExponentialLR": lambda: ExponentialLR(optimizer, 0.5, last_epoch=2),
        "CosineAnnealingLR": lambda: CosineAnnealingLR(optimizer, 4, last_epoch=2),
        "WarmRestarts-2": lambda: CosineAnnealingWarmRestarts(optimizer, 2, T_mult=2, last_epoch=2),
    }
    assert advance(kinds[name](), len(expected) - 3) == exactly(expected[3:])


def test_eta_min():
    expected = [0.1 + 0.9 * (1 + cos(pi * t / 4)) / 2 for t in range(13)]
    parameter = minidl.zeros(1, requires_grad=True)
    optimizer = SGD([parameter], lr=1.0)
    scheduler = CosineAnnealingLR(optimizer, 4, eta_min=0.1)
    restarts = CosineAnnealingWarmRestarts(SGD([parameter], lr=1.0), 4, eta_min=0.1)
    optimizer.step()
    for t in range(13):
        assert scheduler.get_last_lr() == exactly([expected[t]])
        assert restarts.get_last_lr() == exactly([expected[t % 4]])
        scheduler.step()
        restarts.step()


def test_warm_restarts_takes_fractions_of_epochs():
    scheduler = CosineAnnealingWarmRestarts(make(), T_0=2, T_mult=2)
    for epoch, expected in [(0.5, (1 + sqrt(0.5)) / 2), (2, 1), (4.0, 0.5), (5.5, (1 + cos(pi * 7 / 8)) / 2), (6, 1)]:
        scheduler.step(epoch)
        assert scheduler.get_last_lr()[0] == pytest.approx(expected, rel=1e-12)
        assert scheduler.last_epoch == int(epoch)
    with pytest.raises(ValueError, match="Expected non-negative epoch, but got -1"):
        scheduler.step(-1)


@pytest.mark.parametrize(("T_0", "T_mult", "epoch"), [(10, 1, 2.5), (10, 1, 9.5), (2, 2, 5.75), (2, 3, 0)])
def test_warm_restarts_keeps_the_fraction_of_an_epoch(T_0, T_mult, epoch):
    scheduler, straight = (CosineAnnealingWarmRestarts(make(), T_0, T_mult) for _ in range(2))
    scheduler.step(epoch)
    for i in range(1, 4):
        scheduler.step()
        straight.step(epoch + i)
        assert scheduler.get_last_lr() == straight.get_last_lr()
        assert (scheduler.T_cur, scheduler.T_i, scheduler.last_epoch) == (
            straight.T_cur,
            straight.T_i,
            int(epoch + i),
        )


# -- one cycle ---------------------------------------------------------------------------------------------------------


def one_cycle(optimizer: Optimizer, steps: int, **options: Any) -> tuple[list[float], list[float]]:
    scheduler = OneCycleLR(optimizer, **options)
    lrs, momenta = [], []
    for t in range(steps):
        group = optimizer.param_groups[0]
        lrs.append(group["lr"])
        momenta.append(group["betas"][0] if "betas" in group else group["momentum"])
        assert scheduler.get_last_lr()[0] == group["lr"]
        if t < steps - 1:
            optimizer.step()
            scheduler.step()
    return lrs, momenta


def test_one_cycle_linear():
    lrs, momenta = one_cycle(
        make(momentum=0.9), 10, max_lr=1.0, total_steps=10, pct_start=0.5, anneal_strategy="linear", div_factor=5.0,
        final_div_factor=2.0, base_momentum=0.5, max_momentum=0.9,
    )  # fmt: skip
    assert lrs == exactly([0.2, 0.4, 0.6, 0.8, 1.0, 0.82, 0.64, 0.46, 0.28, 0.1])
    assert momenta == exactly([0.9, 0.8, 0.7, 0.6, 0.5, 0.58, 0.66, 0.74, 0.82, 0.9])


def test_one_cycle_three_phases():
    lrs, momenta = one_cycle(
        make(Adam, betas=(0.7, 0.8)), 10, max_lr=1.0, epochs=2, steps_per_epoch=5, pct_start=0.3, three_phase=True,
        anneal_strategy="linear", div_factor=5.0, final_div_factor=10.0,
    )  # fmt: skip
    assert lrs == exactly([0.2, 0.6, 1.0, 0.6, 0.2, 0.164, 0.128, 0.092, 0.056, 0.02])
    assert momenta == exactly([0.95, 0.9, 0.85, 0.9, 0.95, 0.95, 0.95, 0.95, 0.95, 0.95])


def test_one_cycle_cosine_by_default():
    optimizer = make(momentum=0.9)
    lrs, momenta = one_cycle(optimizer, 10, max_lr=1.0, total_steps=10)
    low, high = 1 / 25, 1.0
    up = [high + (low - high) * (1 + cos(pi * t / 2)) / 2 for t in range(3)]
    down = [low / 1e4 + (high - low / 1e4) * (1 + cos(pi * t / 7)) / 2 for t in range(1, 8)]
    assert lrs == exactly(up + down)
    assert momenta[0] == momenta[9] == pytest.approx(0.95, rel=1e-12)
    assert momenta[2] == pytest.approx(0.85, rel=1e-12)


def test_one_cycle_without_a_rising_phase_begins_at_the_top():
    for pct_start in (0.0, 0.1):  # no step, or one step, to rise in
        lrs, _ = one_cycle(make(momentum=0.9), 10, max_lr=1.0, total_steps=10, pct_start=pct_start)
        assert lrs[9] == pytest.approx(1 / 25e4, rel=1e-12)
        assert sorted(lrs, reverse=True) == lrs
    assert lrs[0] == 1.0


def test_one_cycle_per_group_and_without_momentum():
    optimizer = make(momentum=0.9)
    scheduler = OneCycleLR(optimizer, max_lr=[1.0, 3.0], total_steps=4, pct_start=0.5, cycle_momentum=False)
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == exactly([1.0, 3.0])
    assert [group["momentum"] for group in optimizer.param_groups] == [0.9, 0.9]


def test_one_cycle_resumes():
    def build() -> OneCycleLR:
        return OneCycleLR(make(Adam), max_lr=[1.0, 0.5], total_steps=9)

    scheduler, again = build(), build()
    advance(scheduler, 4)
    again.load_state_dict(copy.deepcopy(scheduler.state_dict()))
    again.optimizer.load_state_dict(copy.deepcopy(scheduler.optimizer.state_dict()))
    assert advance(again, 4) == advance(scheduler, 4)
    assert again.optimizer.param_groups[0]["betas"] == scheduler.optimizer.param_groups[0]["betas"]


def test_one_cycle_ends():
    scheduler = OneCycleLR(make(momentum=0.9), max_lr=[1.0, 0.5], total_steps=3)
    advance(scheduler, 3)
    with pytest.raises(ValueError, match=r"Tried to step 4 times\. The specified number of total steps is 3"):
        scheduler.step()


# -- plateau -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "metrics", "expected"),
    [
        ({}, [1.0] * 13, [1.0] * 11 + [0.1] * 2),
        ({"factor": 0.5, "patience": 1}, [3, 2, 2, 2, 2, 2, 1], [1, 1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"factor": 0.5, "patience": 0, "mode": "max"}, [1, 2, 3, 2, 4], [1, 1, 1, 0.5, 0.5]),
        ({"factor": 0.5, "patience": 0, "cooldown": 2}, [1, 1, 1, 1, 1], [1, 0.5, 0.5, 0.5, 0.25]),
        ({"factor": 0.5, "patience": 0, "min_lr": 0.3}, [1, 1, 1, 1], [1, 0.5, 0.3, 0.3]),
        ({"factor": 0.5, "patience": 0, "eps": 0.4}, [1, 1, 1], [1, 0.5, 0.5]),
        ({"factor": 0.5, "patience": 0, "threshold": 0.1}, [10, 9.5, 8.9], [1, 0.5, 0.5]),
        ({"factor": 0.5, "patience": 0, "threshold": 0.1, "mode": "max"}, [10, 10.5, 11.5], [1, 0.5, 0.5]),
        ({"factor": 0.5, "patience": 0, "threshold": 1, "threshold_mode": "abs"}, [10, 9.5, 8.9], [1, 0.5, 0.5]),
        (
            {"factor": 0.5, "patience": 0, "threshold": 1, "threshold_mode": "abs", "mode": "max"},
            [10, 10.5, 11.1],
            [1, 0.5, 0.5],
        ),
        ({"factor": 0.5, "patience": 0}, [1.0, float("nan")], [1, 0.5]),
    ],
)
def test_plateau(options, metrics, expected):
    optimizer = SGD([minidl.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = ReduceLROnPlateau(optimizer, **options)
    seen = []
    for i, metric in enumerate(metrics):
        if i == 2:  # resume in the middle
            state = copy.deepcopy(scheduler.state_dict())
            scheduler = ReduceLROnPlateau(optimizer)
            scheduler.load_state_dict(state)
        scheduler.step(minidl.tensor(float(metric)))
        seen += scheduler.get_last_lr()
    assert seen == exactly(expected)
    assert scheduler.last_epoch == len(metrics)


def test_plateau_per_group():
    scheduler = ReduceLROnPlateau(make(), factor=0.5, patience=0, min_lr=[0.6, 0.1])
    for _ in range(3):
        scheduler.step(1.0)
    assert scheduler.get_last_lr() == [0.6, 0.125]
    scheduler.optimizer.add_param_group({"params": [minidl.zeros(1, requires_grad=True)]})
    with pytest.raises(RuntimeError, match=r"param groups in the optimizer \(3\) differs .* \(2\): set `min_lrs`"):
        scheduler.step(1.0)


# -- what they share ---------------------------------------------------------------------------------------------------


def test_a_rate_changed_by_hand_is_respected():
    scheduler = ExponentialLR(make(), 0.5)
    scheduler.optimizer.param_groups[0]["lr"] = 8.0
    scheduler.optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [4.0, 0.25]


def test_a_callable_object_keeps_its_state():
    class Slope:
        def __init__(self, slope: float) -> None:
            self.slope = slope

        def __call__(self, epoch: int) -> float:
            return 1 + self.slope * epoch

    scheduler, again = LambdaLR(make(), Slope(2.0)), LambdaLR(make(), Slope(5.0))
    advance(scheduler, 1)
    state = scheduler.state_dict()
    again.load_state_dict(state)
    again.optimizer.load_state_dict(scheduler.optimizer.state_dict())
    assert advance(again, 3) == [3.0, 5.0, 7.0]
    assert "lr_lambdas" in state  # loading does not take the dict apart


def test_stepping_the_scheduler_first_warns():
    scheduler = StepLR(make(), 1)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()
        advance(StepLR(make(), 1), 2)


def test_a_base_class_without_get_lr():
    with pytest.raises(NotImplementedError, match="LRScheduler defines no get_lr"):
        LRScheduler(make())


@pytest.mark.parametrize(
    ("error", "message", "build"),
    [
        (TypeError, "int is not an Optimizer", lambda o: StepLR(3, 1)),
        (TypeError, "int is not an Optimizer", lambda o: ReduceLROnPlateau(3)),
        (TypeError, "int is not an Optimizer", lambda o: OneCycleLR(3, 1.0, 5)),
        (KeyError, "'initial_lr' is not specified in param_groups[0]", lambda o: StepLR(o, 1, last_epoch=3)),
        (ValueError, "Expected 2 lr_lambdas, but got 1", lambda o: LambdaLR(o, [lambda epoch: 1])),
        (TypeError, "lr_lambda should be a function, but got float", lambda o: MultiplicativeLR(o, 0.5)),
        (ValueError, "between 0 and 1, got 1.5", lambda o: ConstantLR(o, 1.5)),
        (ValueError, "greater than 0 and less or equal to 1, got 0", lambda o: LinearLR(o, 0)),
        (ValueError, "between 0 and 1, got -1", lambda o: LinearLR(o, 1, -1)),
        (ValueError, "Expected positive integer T_0, but got 0", lambda o: CosineAnnealingWarmRestarts(o, 0)),
        (ValueError, "Expected integer T_mult >= 1, but got 1.5", lambda o: CosineAnnealingWarmRestarts(o, 1, 1.5)),
        (ValueError, "Expected float or int eta_min", lambda o: CosineAnnealingWarmRestarts(o, 1, 1, "0")),
        (ValueError, "at least one scheduler", lambda o: SequentialLR(o, [], [])),
        (ValueError, "number of schedulers 1 and the number", lambda o: SequentialLR(o, [StepLR(o, 1)], [1])),
        (ValueError, "at index 0 belongs to another one", lambda o: SequentialLR(o, [StepLR(make(), 1)], [])),
        (ValueError, "does not support `ReduceLROnPlateau`", lambda o: SequentialLR(o, [ReduceLROnPlateau(o)], [])),
        (ValueError, "at least one scheduler", lambda o: ChainedScheduler([])),
        (
            ValueError,
            "at index 1 belongs to another one",
            lambda o: ChainedScheduler([StepLR(o, 1), StepLR(make(), 1)]),
        ),
        (ValueError, "Factor should be < 1.0, got 1.0", lambda o: ReduceLROnPlateau(o, factor=1.0)),
        (ValueError, "mode best is unknown!", lambda o: ReduceLROnPlateau(o, "best")),
        (ValueError, "threshold mode x is unknown!", lambda o: ReduceLROnPlateau(o, threshold_mode="x")),
        (ValueError, "expected 2 min_lrs, got 1", lambda o: ReduceLROnPlateau(o, min_lr=[0.1])),
        (ValueError, "You must define either total_steps OR", lambda o: OneCycleLR(o, 1.0, epochs=3)),
        (ValueError, "Expected positive integer total_steps, but got 0", lambda o: OneCycleLR(o, 1.0, 0)),
        (
            ValueError,
            "Expected positive integer steps_per_epoch, but got 1.5",
            lambda o: OneCycleLR(o, 1.0, epochs=1, steps_per_epoch=1.5),
        ),
        (ValueError, "pct_start, but got 1.5", lambda o: OneCycleLR(o, 1.0, 5, pct_start=1.5)),
        (ValueError, "instead got exp", lambda o: OneCycleLR(o, 1.0, 5, anneal_strategy="exp")),
        (ValueError, "max_lr has 3 values, param_groups has 2", lambda o: OneCycleLR(o, [1.0, 2.0, 3.0], 5)),
        (ValueError, "must support momentum or beta1", lambda o: OneCycleLR(make(minidl.optim.Adagrad), 1.0, 5)),
    ],
)
def test_errors(error, message, build):
    with pytest.raises(error) as raised:
        build(make(momentum=0.9))
    assert message in str(raised.value)
