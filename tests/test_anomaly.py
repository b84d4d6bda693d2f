"""Anomaly mode: at the first NaN on the way back, say which operation made it, and where that was called."""

import inspect
import threading

import pytest

import minidl
from minidl import nn
from minidl.autograd import Function, detect_anomaly, is_anomaly_enabled, set_detect_anomaly


def sqrt_of_zero(x):
    return x.sqrt()


LINE = inspect.getsourcelines(sqrt_of_zero)[1] + 1


class Root(nn.Module):
    def forward(self, x):
        return sqrt_of_zero(x)


def zero():
    return minidl.tensor([0.0, 4.0], requires_grad=True)


def nan_gradient(y):
    """0 · ∞ at the first element."""
    (y * minidl.tensor([0.0, 1.0])).sum().backward()


def test_the_error_names_operation_line_and_function():
    with detect_anomaly(), pytest.raises(RuntimeError) as caught:
        nan_gradient(sqrt_of_zero(zero()))
    message = str(caught.value)
    assert "Function 'SqrtBackward' returned nan values in its 0th output." in message
    assert f"{__file__}:{LINE}, in sqrt_of_zero" in message


def test_the_error_names_the_module():
    model = nn.Sequential(nn.Identity(), nn.Sequential(Root()))
    with detect_anomaly(), pytest.raises(RuntimeError, match=r"in sqrt_of_zero, module Sequential\.1\.0\.$"):
        nan_gradient(model(zero()))


def test_a_function_of_ones_own():
    class Bad(Function):
        @staticmethod
        def forward(ctx, x, w):
            return x * w

        @staticmethod
        def backward(ctx, g):
            return g, g * float("nan")

    x, w = minidl.ones(2, requires_grad=True), minidl.ones(2, requires_grad=True)
    line = inspect.currentframe().f_lineno + 2
    with detect_anomaly():
        y = Bad.apply(x, w)
        with pytest.raises(
            RuntimeError, match=rf"'BadBackward' returned nan values in its 1th output.*py:{line}, in test_a_func"
        ):
            y.sum().backward()


def test_the_first_nan_on_the_way_is_reported_and_nothing_is_accumulated():
    x, other = zero(), minidl.ones(2, requires_grad=True)
    with detect_anomaly(), pytest.raises(RuntimeError, match="SqrtBackward"):
        nan_gradient((x * 1).sqrt().exp() + other)
    assert x.grad is None
    assert other.grad is None


def test_without_anomaly_mode_nan_passes():
    x = zero()
    nan_gradient(x.sqrt())
    assert x.grad[0].isnan().item()
    assert x.grad[1].item() == 0.25
    with detect_anomaly(check_nan=False):
        nan_gradient(x.sqrt())


def test_a_graph_made_before_the_mode_was_on():
    y = zero().sqrt()
    with detect_anomaly(), pytest.raises(RuntimeError, match=r"SqrtBackward.*\(called before anomaly mode was on\)"):
        nan_gradient(y)


def test_a_stale_value_is_traced_to_the_call_that_saved_it():
    with detect_anomaly():
        y = sqrt_of_zero(minidl.ones(2, requires_grad=True))
        y += 1
        with pytest.raises(
            RuntimeError, match=rf"SqrtBackward needs its output.*which add_ has changed.*py:{LINE}, in sqrt_of_zero"
        ):
            y.sum().backward()


def test_the_mode_is_a_setting_of_the_thread():
    assert not is_anomaly_enabled()
    with set_detect_anomaly(True):
        assert is_anomaly_enabled()
        with set_detect_anomaly(False):
            assert not is_anomaly_enabled()
        assert is_anomaly_enabled()
        seen = []
        thread = threading.Thread(target=lambda: seen.append(is_anomaly_enabled()))
        thread.start()
        thread.join()
        assert seen == [False]
    assert not is_anomaly_enabled()
    set_detect_anomaly(True)
    try:
        assert is_anomaly_enabled()
    finally:
        set_detect_anomaly(False)
    assert not is_anomaly_enabled()
    with pytest.raises(KeyError), detect_anomaly():
        raise KeyError
    assert not is_anomaly_enabled()
