"""The gradient tests notice wrong gradients: a sample of the mutation run, ``python -m tests.mutate_gradients``."""

from __future__ import annotations

import random

import pytest

from tests.mutate_gradients import EQUIVALENT, collect, main, survives, unfit


def test_a_random_few_mutants_are_noticed() -> None:
    seed = random.randrange(10**6)
    mutants = collect(sample=40, seed=seed)
    assert not unfit(mutants), f"seed {seed}"
    survivors = [str(mutant) for mutant in mutants if survives(mutant)]
    assert not survivors, f"seed {seed}"


def test_the_run_has_something_to_spoil_in_every_gradient() -> None:
    mutants = collect()
    spoilt = {mutant.target.function.__qualname__ for mutant in mutants}
    assert {"Softmax.vjp", "Mul.vjp_a", "Step.vjp", "_add", "sum_to", "ConvKernels.conv2d_weight_grad"} <= spoilt
    for target in {m.target for m in mutants if not m.target.helper}:
        changes = [m.change for m in mutants if m.target is target]
        assert any("→  return zero(" in c or "zero(" in c for c in changes), target
        assert any("negative(" in c for c in changes), target


def test_what_is_equivalent_survives() -> None:
    """So that a survivor is reported when there is one."""
    (mutant,) = [m for m in collect("Sign") if m.key == ("Step.vjp", "return g * 0  →  return negative(g * 0)")]
    assert mutant.key in EQUIVALENT
    assert survives(mutant, draws=5)
    original = mutant.target.function.__code__
    assert mutant.target.function.__code__ is original


def test_the_exit_status_tells() -> None:
    assert main(["--op", "Mul"]) == 0
    with pytest.raises(SystemExit):
        main(["--op", "NoSuchOp"])
