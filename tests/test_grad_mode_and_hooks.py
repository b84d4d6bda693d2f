"""no_grad() and its relatives, and hooks on Tensors. Every expectation here was first seen in PyTorch 2.13, except in
``test_own_…``: there minidl is more tolerant."""

import threading

import pytest

import minidl

T = minidl.tensor


def leaf(*values):
    return T(list(values), requires_grad=True)


# -- settings ----------------------------------------------------------------------------------------------------------


def test_no_grad_and_enable_grad_nest():
    x = leaf(1.0)
    with minidl.no_grad():
        assert not minidl.is_grad_enabled()
        assert not (x * 2).requires_grad
        with minidl.enable_grad():
            assert (x * 2).requires_grad
            with minidl.set_grad_enabled(False):
                assert not (x * 2).requires_grad
            assert minidl.is_grad_enabled()
        assert not minidl.is_grad_enabled()
    assert minidl.is_grad_enabled()


def test_own_one_context_object_may_be_entered_twice():
    off = minidl.no_grad()
    with off:
        with off:
            pass
        assert not minidl.is_grad_enabled()
    assert minidl.is_grad_enabled()


def test_the_setting_is_restored_after_an_error():
    with pytest.raises(KeyError), minidl.no_grad():
        raise KeyError
    assert minidl.is_grad_enabled()


def test_set_grad_enabled_as_a_call():
    minidl.set_grad_enabled(False)
    try:
        assert not minidl.is_grad_enabled()
    finally:
        minidl.set_grad_enabled(True)
    assert minidl.is_grad_enabled()


@pytest.mark.parametrize("kind", ["no_grad()", "no_grad", "set_grad_enabled(False)"])
def test_decorators(kind):
    off = {"no_grad()": minidl.no_grad, "no_grad": lambda: minidl.no_grad}.get(
        kind, lambda: minidl.set_grad_enabled(False)
    )

    @off()
    def inner(a, *, b):
        """Documented."""
        return minidl.is_grad_enabled(), a + b

    assert inner(1, b=2) == (False, 3)
    assert inner(1, b=2) == (False, 3)
    assert minidl.is_grad_enabled()
    assert inner.__doc__ == "Documented."

    @minidl.no_grad()
    @minidl.enable_grad()
    def both():
        return minidl.is_grad_enabled()

    assert both()


def test_a_decorated_generator_leaves_its_caller_alone():
    @minidl.no_grad()
    def steps():
        yield minidl.is_grad_enabled()
        yield minidl.is_grad_enabled()

    assert [(inside, minidl.is_grad_enabled()) for inside in steps()] == [(False, True)] * 2


def test_each_thread_has_its_own_setting():
    inside = []
    with minidl.no_grad():
        thread = threading.Thread(target=lambda: inside.append(minidl.is_grad_enabled()))
        thread.start()
        thread.join()
    assert inside == [True]

    def turn_off():
        minidl.set_grad_enabled(False)

    thread = threading.Thread(target=turn_off)
    thread.start()
    thread.join()
    assert minidl.is_grad_enabled()


def test_threads_build_and_walk_their_own_graphs():
    results = {}

    def work(k):
        w = T([float(k)], requires_grad=True)
        for _ in range(50):
            (w * w * k).sum().backward()
        results[k] = w.grad.tolist()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {k: [100.0 * k * k] for k in range(1, 5)}


def test_detach_shares_memory_and_cuts_the_graph():
    x = leaf(1.0, 2.0)
    y = x * 2
    d = y.detach()
    assert not d.requires_grad
    d.add_(1)
    assert y.tolist() == [3, 5]
    (y * d).sum().backward()
    assert x.grad.tolist() == [6, 10]


def test_requires_grad_can_be_taken_from_leaves_only():
    x = leaf(1.0)
    x.requires_grad_(False)
    assert not (x * 2).requires_grad
    x.requires_grad = True
    y = x * 2
    with pytest.raises(RuntimeError, match="you can only change requires_grad flags of leaf variables"):
        y.requires_grad_(False)
    assert y.requires_grad_(True) is y


# -- hooks -------------------------------------------------------------------------------------------------------------


def test_a_hook_sees_and_replaces_the_whole_gradient():
    x = leaf(1.0, 2.0)
    h = x * 2
    seen = []

    def triple(g):
        seen.append(g.tolist())
        return g * 3

    h.register_hook(triple)
    (h + h * 4).sum().backward()
    assert seen == [[5, 5]]
    assert x.grad.tolist() == [30, 30]


def test_a_hook_on_a_leaf_acts_before_accumulation():
    x = leaf(1.0, 2.0)
    x.register_hook(lambda g: g * 10)
    (x * 3).sum().backward()
    (x * 4).sum().backward()
    assert x.grad.tolist() == [70, 70]
    assert minidl.autograd.grad((x * 5).sum(), x)[0].tolist() == [50, 50]


def test_order_of_hooks():
    x = leaf(1.0, 2.0)
    order = []
    x.register_hook(lambda g: order.append("x first"))
    x.register_hook(lambda g: order.append("x second"))
    y = x * 2
    y.register_hook(lambda g: order.append("y"))
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert order == ["y", "x first", "x second"]
    assert y.grad.tolist() == [10, 10]  # what is retained is what the hooks made of it
    assert x.grad.tolist() == [20, 20]


def test_removing_hooks():
    x = leaf(1.0)
    y = x * 2
    handles = [t.register_hook(lambda g: g * 100) for t in (x, y)]
    for handle in handles:
        handle.remove()
        handle.remove()
    y.sum().backward()
    assert x.grad.tolist() == [2]


def test_bad_hooks():
    with pytest.raises(RuntimeError, match="cannot register a hook on a tensor that doesn't require gradient"):
        T([1.0]).register_hook(print)
    y = leaf(1.0, 2.0) * 2
    y.register_hook(lambda g: g.sum())
    with pytest.raises(RuntimeError, match="hook.* has changed the size of value"):
        y.sum().backward()
    y = leaf(1.0, 2.0) * 2
    y.register_hook(lambda g: 3)
    with pytest.raises(TypeError, match="hook returned 'int'"):
        y.sum().backward()


def test_a_hook_of_one_output_of_several():
    x = leaf(3.0, 1.0, 2.0)
    values, _ = x.sort()
    part = values[1:]
    part.register_hook(lambda g: g * 2)
    (part.sum() + values[:1].sum()).backward()
    assert x.grad.tolist() == [2, 1, 2]


def test_hooks_are_recorded_with_create_graph():
    x = T(3.0, requires_grad=True)
    y = x * x
    y.register_hook(lambda g: g * x)
    (g,) = minidl.autograd.grad(y, x, create_graph=True)  # 2x·x
    (gg,) = minidl.autograd.grad(g, x)
    assert (g.item(), gg.item()) == (18, 12)


def test_retain_grad():
    x = leaf(1.0, 2.0)
    x.retain_grad()  # nothing to do for a leaf
    y = x * 2
    y.retain_grad()
    y.retain_grad()
    z = y * 3
    (z.sum() + y.sum()).backward()
    assert y.grad.tolist() == [4, 4]
    assert z.grad is None
    with pytest.raises(RuntimeError, match="can't retain_grad on Tensor that has requires_grad=False"):
        T([1.0]).retain_grad()


def test_a_retained_gradient_that_is_asked_for_is_added_once():
    y = minidl.ones(2, requires_grad=True) * 2
    y.retain_grad()
    (y * y).sum().backward(inputs=[y])
    assert y.grad.tolist() == [4, 4]


def test_retained_gradients_accumulate_and_are_copies():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    z = y + 0
    z.retain_grad()
    z.sum().backward(retain_graph=True)
    z.sum().backward()
    y.grad.add_(5)
    assert z.grad.tolist() == [2, 2]
    assert y.grad.tolist() == [7, 7]
    assert x.grad.tolist() == [4, 4]


def test_a_hooked_module_must_not_change_its_input_in_place():
    module = minidl.nn.ReLU(inplace=True)
    module.register_full_backward_hook(lambda *_: None)
    hidden = minidl.ones(2, requires_grad=True) * 1
    with pytest.raises(RuntimeError, match="modified inplace"):
        module(hidden)
    assert module(minidl.ones(2)).tolist() == [1, 1]
