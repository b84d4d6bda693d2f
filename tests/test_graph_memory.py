"""What the graph holds, for how long, and how deep it may be.

Garbage collection is off in these tests: what dies does so because nothing holds it.
"""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.autograd import Function
from minidl.backend.cpu import threads
from minidl.nn import functional as F


@pytest.fixture(autouse=True)
def _without_gc():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def leaf(n=3):
    return minidl.ones(n, requires_grad=True)


class SavesItsOutput(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y, x, y.reshape(-1))
        return y, y * 2

    @staticmethod
    def backward(ctx, g, h):
        y = ctx.saved_tensors[0]
        return (g + h * 2) * y


def with_hook(x):
    h = x * 2
    h.register_hook(lambda g: g * 2)
    return h


def with_retained_gradient(x):
    h = x * 2
    h.retain_grad()
    return h


def with_in_place(x):
    h = x * 2
    v = h[0]
    v.mul_(3)
    h += x
    return h


WAYS = [
    lambda x: x.exp(),
    lambda x: x * x,
    lambda x: x.tanh().reshape(3, 1)[1:],
    lambda x: x.softmax(0).log(),
    lambda x: x.sort().values,
    lambda x: SavesItsOutput.apply(x)[1],
    lambda x: nn.functional.batch_norm(x.reshape(3, 1), None, None, training=True),
    with_hook,
    with_retained_gradient,
    with_in_place,
]


@pytest.mark.parametrize("walk", ["none", "backward", "create_graph"])
@pytest.mark.parametrize("way", WAYS, ids=range(len(WAYS)))
def test_nothing_holds_an_intermediate_tensor_or_its_memory(way, walk):
    x = leaf()
    h = way(x)
    y = (h * h).sum()
    watched = [weakref.ref(h), weakref.ref(h.array), weakref.ref(h.grad_fn), weakref.ref(y.grad_fn)]
    if walk == "backward":
        y.backward()
    elif walk == "create_graph":
        (g,) = minidl.autograd.grad(y, x, create_graph=True)
        watched += [weakref.ref(g), weakref.ref(g.grad_fn)]
        g.sum().backward()
        del g
    del h, y
    assert [w() for w in watched] == [None] * len(watched)


def test_a_tensor_that_comes_to_depend_on_what_saved_it():
    x = leaf()
    h = minidl.ones(3)
    product = x * h  # saves h
    h.add_(product)  # and now h depends on it
    watched = [weakref.ref(h), weakref.ref(product.grad_fn)]
    del h, product
    assert [w() for w in watched] == [None, None]


def test_the_graph_does_not_hold_what_no_gradient_needs():
    x = leaf()
    a = x + 1
    b = a * 2
    c = b - a
    watched = [weakref.ref(t.array) for t in (a, b)]
    y = c.sum()
    del a, b
    assert [w() for w in watched] == [None, None]
    y.backward()
    assert x.grad.tolist() == [1, 1, 1]


def test_saved_values_are_freed_on_the_way_back():
    x = minidl.ones(1000, requires_grad=True)
    alive = []
    saved = []

    def watch(g):
        alive.append(sum(w() is not None for w in saved))

    h = x
    for _ in range(5):
        h = h.exp() * 0.1
        saved.append(weakref.ref(h.grad_fn.edges[0][0].saved[-1][0]))
        h.register_hook(watch)
    h.sum().backward()
    assert alive == [5, 4, 3, 2, 1]
    assert not any(w() for w in saved)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: F.cross_entropy(x.flatten(1), minidl.tensor([0, 1])),
    ],
)
def test_what_an_op_made_for_its_gradient_is_freed_too(function):
    y = function(minidl.randn(2, 3, 4, 4, requires_grad=True))
    node = y.grad_fn
    assert node.frees and all(vars(node)[name] is not None for name in node.frees)
    y.sum().backward()
    assert not set(node.frees) & set(vars(node))
    with pytest.raises(RuntimeError, match="a second time"):
        y.sum().backward()


def test_retain_graph_keeps_them():
    x = minidl.ones(10, requires_grad=True)
    y = x.exp()
    kept = weakref.ref(y.array)
    z = y.sum()
    del y
    z.backward(retain_graph=True)
    assert kept() is not None
    z.backward()
    assert kept() is None


def test_the_peak_of_the_walk_back_is_a_few_tensors(monkeypatch):
    monkeypatch.setattr(threads, "_count", 2)
    size, depth = 2_000_000, 20
    x = minidl.ones(size, requires_grad=True)
    h = x
    for _ in range(depth):
        h = h.tanh()
    y = h.sum()
    del h
    tracemalloc.start()
    y.backward()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A cotangent, the next one, the one before, which another thread may not have let go yet, and what lies between the steps of
    # tanh's gradient, of a piece for each thread.
    assert peak < 3.5 * 4 * size


def train(steps):
    minidl.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)
    )
    optimizer = minidl.optim.Adam(model.parameters(), lr=1e-3)
    x, t = minidl.randn(6, 1, 8, 8), minidl.arange(6) % 5

    def step():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), t).backward()
        optimizer.step()

    tracemalloc.start()
    for _ in range(100):  # until the caches of threadpoolctl and the interpreter are full
        step()
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(steps):
        step()
    cycles = gc.collect()  # also empties the interpreter's own stock of freed tuples
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return cycles, after - before


def test_a_training_loop_has_flat_memory_and_makes_no_cycles():
    cycles, growth = train(50)
    assert cycles == 0
    assert growth < 100 * 50  # bytes: less than one Tensor a step (the interpreter's own caches grow a little)


def test_an_error_on_the_way_back_leaves_no_cycle_behind():
    class Fails(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            raise ValueError("no")

    x = leaf()
    y = Fails.apply(x * 1)
    node = weakref.ref(y.grad_fn)
    with pytest.raises(ValueError, match="^no$"):
        y.sum().backward()
    del y
    gc.collect()  # the traceback itself is a cycle
    assert node() is None


DEPTH = 100_000


def chain(x):
    for _ in range(DEPTH // 2):
        x = x * 1.0 + 0.0
    return x


def test_a_graph_100000_deep():
    x = leaf(1)
    y = chain(x)
    first = weakref.ref(y.grad_fn)
    y.backward()
    assert x.grad.tolist() == [1]
    del y
    assert first() is None


def test_a_graph_100000_deep_is_freed_without_backward():
    y = chain(leaf(1))
    first = weakref.ref(y.grad_fn)
    del y
    assert first() is None


def test_a_deep_graph_towards_given_inputs_and_of_second_order():
    x = minidl.tensor([2.0], dtype=minidl.float64, requires_grad=True)
    h = x * x
    for _ in range(20_000):
        h = h * 1.0
    (g,) = minidl.autograd.grad(h.sum(), x, create_graph=True)
    (gg,) = minidl.autograd.grad(g.sum(), x)
    assert (g.item(), gg.item()) == (4, 2)


def test_a_long_chain_of_views_and_in_place_operations():
    x = leaf(4)
    y = x * 1
    v = y
    for _ in range(20_000):
        v = v.reshape(2, 2) if v.ndim == 1 else v.reshape(4)
    v.mul_(3)
    for _ in range(20_000):
        y.mul_(1.0)
    y.sum().backward()
    assert x.grad.tolist() == [3, 3, 3, 3]


def test_a_wide_graph():
    x = leaf(1)
    minidl.stack([x * float(i) for i in range(5000)]).sum().backward()
    assert x.grad.tolist() == [np.arange(5000.0).sum()]


def test_a_diamond_of_exponentially_many_paths():
    x = minidl.tensor([1.0], dtype=minidl.float64, requires_grad=True)
    y = x
    for _ in range(60):
        y = y * 0.5 + y * 0.5
    y.sum().backward()
    assert x.grad.tolist() == [1]
