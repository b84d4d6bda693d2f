"""Transfer learning: heads, freezing, stages, learning rates, and the recommendation."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl import models, nn, optim, transfer
from minidl.data import DataLoader, TensorDataset
from minidl.training import Trainer
from minidl.transfer.heads import auxiliary_heads

DRAWING = ("uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_")


@pytest.fixture
def undrawn(monkeypatch):
    """Models are built in no time: their numbers are not drawn (a VGG has 130 million)."""
    for name in DRAWING:
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)


def small() -> nn.Sequential:
    """Everything that behaves differently in training, and a head."""
    minidl.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU()),
        nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5)),
        nn.Linear(5, 2),
    )


def numbers(*shape: int, seed: int = 0) -> minidl.Tensor:
    return minidl.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def snapshot(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: t.numpy().copy() for name, t in module.state_dict().items()}


def changed(module: nn.Module, before: dict[str, np.ndarray]) -> set[str]:
    return {name for name, t in module.state_dict().items() if not np.array_equal(t.numpy(), before[name])}


def step(model: nn.Module, optimizer: optim.Optimizer) -> None:
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(numbers(8, 3)), minidl.tensor([0, 1] * 4)).backward()
    optimizer.step()


# -- heads -------------------------------------------------------------------------------------------------------------

HEADS = {
    "alexnet": "classifier.6", "vgg11": "classifier.6", "vgg13": "classifier.6", "vgg16": "classifier.6", "vgg19": "classifier.6",
    "vgg11_bn": "classifier.6", "vgg13_bn": "classifier.6", "vgg16_bn": "classifier.6", "vgg19_bn": "classifier.6",
    "googlenet": "fc", "inception_v3": "fc", "resnet18": "fc", "resnet34": "fc", "resnet50": "fc", "resnet101": "fc",
    "resnet152": "fc", "mobilenet_v2": "classifier.1", "cifar_resnet20": "linear", "cifar_resnet32": "linear",
    "cifar_resnet44": "linear", "cifar_resnet56": "linear", "cifar_resnet110": "linear", "lenet": "fc3", "mlp": "layers.5",
    "small_vgg": "classifier.1",
}  # fmt: skip


def test_every_model_has_a_head_here():
    assert sorted(HEADS) == models.list_models()


@pytest.mark.parametrize("name", HEADS)
def test_the_head_of_every_model_is_replaced(undrawn, name):
    model = models.get_model(name)
    before = dict(model.named_parameters())
    path, old = transfer.find_head(model)
    assert path == HEADS[name]
    assert transfer.replace_head(model, 7) is model
    assert transfer.find_head(model)[0] == path
    new = model.get_submodule(path)
    assert new is not old and (new.in_features, new.out_features) == (old.in_features, 7)
    replaced = {n for n, p in model.named_parameters() if p is not before[n]}
    aux = {"googlenet": ["aux1.fc2", "aux2.fc2"], "inception_v3": ["AuxLogits.fc"]}.get(name, [])
    assert replaced == {f"{layer}.{part}" for layer in [path, *aux] for part in ("weight", "bias")}
    assert all(model.get_submodule(layer).out_features == 7 for layer in aux)


def test_models_without_their_auxiliary_heads(undrawn):
    model = transfer.replace_head(models.googlenet(aux_logits=False), 3)
    assert auxiliary_heads(model) == {} and model.fc.out_features == 3


def test_auxiliary_heads_within_another_model(undrawn):
    model = nn.Sequential(nn.Identity(), models.googlenet())
    assert transfer.find_head(model)[0] == "1.fc"
    assert auxiliary_heads(model) == {"1.aux1": "1.aux1.fc2", "1.aux2": "1.aux2.fc2"}
    transfer.replace_head(model, 4)
    assert model[1].aux1.fc2.out_features == model[1].aux2.fc2.out_features == model[1].fc.out_features == 4


def test_a_new_head_is_like_the_old_one_but_for_the_classes():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5, bias=False)).double().eval()
    transfer.freeze(model)
    transfer.replace_head(model, 2)
    head = model[1]
    assert head.bias is None and head.weight.dtype == np.float64 and head.weight.requires_grad and not head.training
    assert not model[0].weight.requires_grad
    assert tuple(model(numbers(6, 3).double()).shape) == (6, 2)
    assert transfer.replace_head(model.train(), 3)[1].training


def test_a_new_head_is_drawn_from_the_seed():
    drawn = []
    for seed in (1, 1, 2):
        model = small()
        minidl.manual_seed(seed)
        drawn.append(transfer.replace_head(model, 3)[2].weight.detach().numpy())
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])


def test_a_head_that_is_held_twice_is_replaced_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(3, 4)
            self.first = nn.Linear(4, 5)
            self.second = self.first

    model = transfer.replace_head(Twice(), 2)
    assert model.first is model.second and model.first.out_features == 2


def test_layers_without_parameters_may_follow():
    assert transfer.find_head(nn.Sequential(nn.Linear(2, 3), nn.Flatten(), nn.Softmax(1)))[0] == "0"


class Named(nn.Module):
    """A module with the given children."""

    def __init__(self, **children):
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)


CLEAR = {
    "chain": (Named(a=nn.Linear(3, 4), b=nn.Linear(4, 5)), "b"),
    "chain of chains": (Named(a=nn.Sequential(nn.Linear(3, 4), nn.ReLU()), b=nn.Sequential(nn.Linear(4, 5))), "b.0"),
    "chain into a chain": (Named(a=nn.Linear(3, 4), b=nn.Sequential(nn.Linear(4, 7), nn.Linear(7, 5))), "b.1"),
    "convolution between": (Named(a=nn.Linear(3, 9), b=nn.Conv2d(1, 2, 3), c=nn.Linear(2, 5)), "c"),
    "not fitting in a row": (nn.Sequential(nn.Linear(3, 8), nn.Flatten(), nn.Linear(4, 5)), "2"),
    "list": (Named(layers=nn.ModuleList([nn.Linear(3, 4), nn.Linear(4, 5)])), "layers.1"),
    "dict of one": (Named(heads=nn.ModuleDict({"a": nn.Linear(3, 4)})), "heads.a"),
    "itself": (nn.Linear(3, 4), ""),
}


@pytest.mark.parametrize("case", CLEAR)
def test_clear_heads(case):
    model, path = CLEAR[case]
    assert transfer.find_head(model)[0] == path


UNCLEAR = {
    "two heads": (
        Named(body=nn.Conv2d(3, 6, 1), a=nn.Linear(6, 4), b=nn.Linear(6, 5)),
        "which of these is the head: a, b",
    ),
    "two deep heads": (
        Named(a=nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)), b=nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 5))),
        "a, b",
    ),
    "three heads below": (
        Named(heads=nn.ModuleList([nn.Linear(6, k) for k in (2, 3, 4)])),
        "heads.0, heads.1, heads.2",
    ),
    "dict": (Named(heads=nn.ModuleDict({"x": nn.Linear(4, 4), "y": nn.Linear(4, 4)})), "heads.x, heads.y"),
    "norm last": (
        nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)),
        r"last layer with parameters is 1 \(BatchNorm1d\)",
    ),
    "convolution last": (nn.Sequential(nn.Flatten(), nn.Conv2d(3, 2, 1)), r"1 \(Conv2d\)"),
    "nothing": (nn.Sequential(nn.ReLU()), "it has no layers"),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_unclear_heads_are_refused_with_their_names(case):
    model, message = UNCLEAR[case]
    before = list(model.modules())
    with pytest.raises(ValueError, match=message):
        transfer.replace_head(model, 2)
    assert list(model.modules()) == before


def test_wrong_numbers_of_classes():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        transfer.replace_head(small(), 0)
    with pytest.raises(TypeError):
        transfer.replace_head(small(), 2.5)
    with pytest.raises(TypeError, match="integer, got True"):
        transfer.replace_head(small(), True)
    with pytest.raises(ValueError, match="itself the linear layer"):
        transfer.replace_head(nn.Linear(2, 3), 2)
    assert transfer.replace_head(small(), np.int64(4))[2].out_features == 4


# -- freezing ----------------------------------------------------------------------------------------------------------


def same_again(model: nn.Module) -> bool:
    """Whether a module is a fixed function in training mode, and keeps its state."""
    before, x = snapshot(model), numbers(8, 3, seed=4)
    outputs = [model.train()(x).detach().numpy() for _ in range(2)]
    expected = copy.deepcopy(model).eval()(x).detach().numpy()
    return (
        np.array_equal(outputs[0], outputs[1]) and np.array_equal(outputs[0], expected) and not changed(model, before)
    )


def test_a_frozen_module_is_a_fixed_function_whatever_train_says():
    model = small()
    assert not same_again(model)
    assert transfer.freeze(model) is model
    assert same_again(model)
    assert not any(p.requires_grad for p in model.parameters())
    assert same_again(transfer.freeze(model))  # twice


def test_freezing_survives_copies_and_state_dicts():
    model = transfer.freeze(small())
    model.train()(numbers(4, 3))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert same_again(twin)
        assert not same_again(transfer.unfreeze(twin))
    assert same_again(model)  # the copies were unfrozen, this one was not
    assert set(model.state_dict()) == set(small().state_dict())
    model.load_state_dict(small().state_dict())
    assert same_again(model) and not same_again(transfer.unfreeze(model))
    other = small()
    other.load_state_dict(transfer.freeze(model).state_dict())
    assert not same_again(other)


def test_unfreezing_undoes_it_at_once_and_leaves_no_hooks():
    model = transfer.freeze(transfer.freeze(small().train()))
    kept = []
    model[0][0].register_forward_pre_hook(lambda *_: kept.append(1))
    model(numbers(4, 3))
    assert all(m.training for m in model.modules())  # the flag says what train() said
    assert transfer.unfreeze(model) is model
    before = snapshot(model)
    model(numbers(4, 3))  # without another train()
    assert {"0.1.running_mean", "1.1.running_var", "1.1.num_batches_tracked"} <= changed(model, before)
    assert all(p.requires_grad for p in model.parameters())
    assert len(kept) == 2  # a hook of the user's stays
    assert sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules()) == 1


def test_modes_set_while_frozen_hold_afterwards():
    model = transfer.freeze(small())
    model.train()(numbers(4, 3))
    model.eval()(numbers(4, 3))
    transfer.unfreeze(model)
    assert not any(m.training for m in model.modules())


def test_a_part_is_frozen_and_a_part_of_that_unfrozen():
    model = small()
    transfer.freeze(model)
    transfer.unfreeze(model[1][1])
    before = snapshot(model)
    model.train()(numbers(8, 3))
    assert changed(model, before) == {"1.1.running_mean", "1.1.running_var", "1.1.num_batches_tracked"}
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["1.1.weight", "1.1.bias"]


def test_what_is_frozen_is_not_moved_by_momentum_or_weight_decay():
    model = small().train()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    step(model, optimizer)
    nn.functional.cross_entropy(model(numbers(8, 3)), minidl.tensor([0, 1] * 4)).backward()  # gradients are there
    transfer.freeze(model[0])
    before = snapshot(model)
    optimizer.step()
    step(model, optimizer)
    moved = changed(model, before)
    assert not any(name.startswith("0.") for name in moved)
    assert {"1.0.weight", "2.weight", "2.bias", "1.1.running_mean"} <= moved


def test_modules_with_children_keep_their_mode():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)
            self.drop = nn.Dropout(0.9)

        def forward(self, x):
            return self.drop(self.fc(x)), self.training

    model = transfer.freeze(Net()).train()
    x = numbers(4, 3)
    output, training = model(x)
    assert training and np.array_equal(output.numpy(), model.fc(x).numpy())


# -- stages and learning rates -----------------------------------------------------------------------------------------


def test_stages_of_known_models(undrawn):
    assert transfer.find_stages(models.resnet18(), 4) == [
        ["fc"],
        ["layer3.1", "layer4.0", "layer4.1"],
        ["layer2.0", "layer2.1", "layer3.0"],
        ["conv1", "bn1", "layer1.0", "layer1.1"],
    ]
    assert transfer.find_stages(models.googlenet(), 2)[0] == ["fc", "aux1", "aux2"]
    assert transfer.find_stages(models.inception_v3(), 5)[0] == ["fc", "AuxLogits"]
    bn = transfer.find_stages(models.small_vgg(), 7)
    assert (
        bn[0] == ["classifier.1"] and bn[1] == ["features.17", "features.18"] and bn[-1] == ["features.0", "features.1"]
    )
    assert transfer.find_stages(models.lenet()) == [["fc3"], ["fc2"], ["fc1"], ["conv2"], ["conv1"]]
    assert transfer.find_stages(models.lenet(), 1) == [["fc3", "fc2", "fc1", "conv2", "conv1"]]


@pytest.mark.parametrize(
    "name", ["mobilenet_v2", "vgg11_bn", "googlenet", "inception_v3", "cifar_resnet20", "alexnet", "mlp"]
)
def test_every_parameter_is_in_one_group(undrawn, name):
    model = models.get_model(name)
    groups = transfer.param_groups(model, lr=0.1, stages=4)
    ids = [id(p) for group in groups for p in group["params"]]
    assert len(ids) == len(set(ids)) and set(ids) == {id(p) for p in model.parameters()}
    assert {id(p) for p in transfer.find_head(model)[1].parameters()} <= {id(p) for p in groups[0]["params"]}


@settings(max_examples=40, deadline=None)
@given(blocks=st.integers(0, 9), count=st.integers(1, 12))
def test_stages_divide_the_blocks_evenly_and_in_order(blocks, count):
    model = nn.Sequential(*[nn.Linear(1, 1) for _ in range(blocks + 1)])
    stages = transfer.find_stages(model, count)
    assert len(stages) == min(count, blocks + 1)
    if count > 1:
        assert stages[0] == [str(blocks)]
        sizes = [len(stage) for stage in stages[1:]]
        assert sizes == sorted(sizes, reverse=True) and (not sizes or sizes[0] - sizes[-1] <= 1)
        assert [int(path) for stage in reversed(stages[1:]) for path in stage] == list(range(blocks))


def test_a_model_around_a_model_is_opened():
    inner = Named(a=nn.Linear(3, 4), b=nn.Linear(4, 5), c=nn.Linear(5, 6))
    assert transfer.find_stages(Named(backbone=inner, head=nn.Linear(6, 2)), 4) == [
        ["head"], ["backbone.c"], ["backbone.b"], ["backbone.a"]
    ]  # fmt: skip
    top = Named(body=nn.Linear(3, 4), top=Named(a=nn.Linear(4, 5), head=nn.Linear(5, 2)))
    assert transfer.find_stages(top, 3) == [["top.head"], ["top.a"], ["body"]]
    assert transfer.find_stages(nn.Sequential(nn.Identity(), inner), 3) == [["1.c"], ["1.b"], ["1.a"]]


def test_rates_fall_from_the_head_backwards():
    model = small()
    groups = transfer.param_groups(model, lr=0.2, decay=2.0)
    # The blocks: the two pairs of Linear and BatchNorm.
    assert [(g["name"], g["lr"]) for g in groups] == [("2", 0.2), ("1.0, 1.1", 0.1), ("0.0, 0.1", 0.05)]
    assert groups[1]["params"] == [*model[1][0].parameters(), *model[1][1].parameters()]
    optimizer = optim.SGD(groups, momentum=0.9)
    assert [g["lr"] for g in optimizer.param_groups] == [0.2, 0.1, 0.05]
    assert transfer.param_groups(model, lr=1.0)[1]["lr"] == pytest.approx(1 / 2.6)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[g["lr"] for g in groups], total_steps=4)
    step(model, optimizer)
    schedule.step()
    rates = [g["lr"] for g in optimizer.param_groups]
    assert rates[0] / rates[1] == pytest.approx(2.0) and rates[1] / rates[2] == pytest.approx(2.0)


def test_frozen_and_shared_and_loose_parameters():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter([1.0])
            self.a = nn.Linear(4, 4)
            self.b = nn.Linear(4, 4)
            self.b.weight = self.a.weight

    model = Net()
    transfer.freeze(model.a)
    groups = transfer.param_groups(model, lr=0.1)
    assert [len(g["params"]) for g in groups] == [2, 2]  # b.weight, b.bias; a.bias and the model's own
    assert groups[1]["params"][1] is model.scale and groups[0]["params"][0] is model.a.weight
    optim.SGD(groups)


def test_stages_of_ones_own():
    model = small()
    own = [["2", "1"], ["0"]]
    assert transfer.find_stages(model, own) == own
    assert [g["lr"] for g in transfer.param_groups(model, lr=0.4, decay=4.0, stages=own)] == [0.4, 0.1]
    relu = nn.ReLU()  # held twice, and nothing to learn
    groups = transfer.param_groups(
        nn.Sequential(nn.Linear(3, 4), relu, nn.Linear(4, 4), relu, nn.Linear(4, 2)),
        lr=0.8,
        decay=2.0,
        stages=[["4", "3"], ["1"], ["2", "0"]],
    )
    assert [(g["lr"], len(g["params"])) for g in groups] == [(0.8, 2), (0.2, 4)]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (0, "at least 1, got 0"),
        (True, "at least 1, got True"),
        ([["2"], ["nothing"]], "nothing"),
        ([["1"], ["1.0"]], "'1.0' and '1' have a layer in common"),
        ([], "at least one"),
        (["2", "1"], "expected lists of paths"),
    ],
)
def test_wrong_stages(stages, message):
    with pytest.raises(ValueError, match=message):
        transfer.find_stages(small(), stages)


@pytest.mark.parametrize(
    "arguments", [{"lr": 0}, {"lr": float("nan")}, {"lr": 0.1, "decay": 0.5}, {"lr": 0.1, "decay": float("inf")}]
)
def test_wrong_rates(arguments):
    with pytest.raises(ValueError, match="param_groups"):
        transfer.param_groups(small(), **arguments)


# -- gradual unfreezing ------------------------------------------------------------------------------------------------


def parts(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("every", [1, 2])
def test_stages_join_from_the_head_backwards(every):
    model = small()
    optimizer = optim.SGD(transfer.param_groups(model, lr=0.1), momentum=0.9, weight_decay=0.01)  # made before
    thaw = transfer.GradualUnfreezing(model, every=every)
    seen = []
    for epoch in range(1, 3 * every + 2):
        thaw.begin_epoch(epoch)
        before = snapshot(model)
        step(model.train(), optimizer)
        seen.append(parts(changed(model, before)))
    expected = [{"2"}] * every + [{"1", "2"}] * every + [{"0", "1", "2"}] * (every + 1)
    assert seen == expected
    assert not same_again(model)  # nothing is frozen at the end
    thaw.begin_epoch(1)
    assert thaw.unfrozen == 1 and [n for n, p in model.named_parameters() if p.requires_grad] == ["2.weight", "2.bias"]


def test_gradual_unfreezing_in_the_trainer_and_resumed(tmp_path):
    def fit(epochs, folder, resume=False, record=None):
        model = small()
        optimizer = optim.SGD(transfer.param_groups(model, lr=0.1), momentum=0.9)
        thaw = transfer.GradualUnfreezing(model, stages=3)
        trainer = Trainer(model, optimizer, run_dir=folder, callbacks=[thaw])
        if record is not None:
            trainer.loss = lambda output, target: (
                record.append(thaw.unfrozen) or nn.functional.cross_entropy(output, target)
            )
        loader = DataLoader(TensorDataset(numbers(8, 3), minidl.tensor([0, 1] * 4)), batch_size=8, seed=0)
        trainer.fit(loader, epochs=epochs, resume=resume)
        return snapshot(model)

    record: list[int] = []
    whole = fit(4, tmp_path / "a", record=record)
    assert record == [1, 2, 3, 3]
    fit(1, tmp_path / "b")
    resumed = fit(4, tmp_path / "b", resume=True)
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


def test_wrong_epochs():
    with pytest.raises(ValueError, match="every"):
        transfer.GradualUnfreezing(small(), every=0)
    with pytest.raises(ValueError, match="counted from 1, got 0"):
        transfer.GradualUnfreezing(small()).begin_epoch(0)


# -- which way ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "similar", "regime"),
    [
        (244, True, "fixed features"),
        (244, False, "SVM on features"),
        (50_000, True, "fine-tuning"),
        (50_000, False, "fine-tuning"),
        (999, True, "fixed features"),
        (1000, True, "fine-tuning"),
        (np.int64(2), False, "SVM on features"),
    ],
)
def test_recommendations(n, similar, regime):
    advice = transfer.recommend(n, similar=similar)
    assert advice.regime == regime and advice.steps and advice.reason
    text = str(advice)
    assert f"{int(n):,} samples" in text and regime in text and "Why: " in text and "1,000" in text
    assert ("similar" if similar else "different") in text and max(map(len, text.splitlines())) < 120


def test_the_two_kinds_of_fine_tuning_differ():
    one, other = (transfer.recommend(5000, similar=similar) for similar in (True, False))
    assert one.steps != other.steps and one.reason != other.reason


def test_the_boundary_is_a_parameter():
    assert transfer.recommend(244, similar=True, boundary=200).regime == "fine-tuning"
    assert transfer.recommend(244, similar=True, boundary=245).boundary == 245


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"n_samples": 0, "similar": True}, ValueError),
        ({"n_samples": 1, "similar": True}, ValueError),
        ({"n_samples": -5, "similar": False}, ValueError),
        ({"n_samples": 2.5, "similar": True}, TypeError),
        ({"n_samples": True, "similar": True}, TypeError),
        ({"n_samples": 100, "similar": "yes"}, TypeError),
        ({"n_samples": 100, "similar": 1}, TypeError),
        ({"n_samples": 100, "similar": True, "boundary": 0}, ValueError),
        ({"n_samples": 100, "similar": True, "boundary": 1e3}, TypeError),
        ({"n_samples": 100}, TypeError),
    ],
)
def test_nonsense_is_refused(arguments, error):
    with pytest.raises(error):
        transfer.recommend(**arguments)
