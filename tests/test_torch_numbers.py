"""Two networks against the numbers that PyTorch computed for them (``torch_numbers/make.py`` wrote those down)."""

import json
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import nn
from tests.torch_numbers.networks import cnn, mlp

HERE = Path(__file__).parent / "torch_numbers"


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
@pytest.mark.parametrize(
    ("name", "make", "loss_function"),
    [("cnn", cnn, nn.CrossEntropyLoss(label_smoothing=0.1)), ("mlp", mlp, nn.MSELoss())],
    ids=["cnn", "mlp"],
)
def test_output_loss_and_gradients(name, make, loss_function, dtype, tolerance):
    numbers = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    expected = numbers[dtype]
    model = make(nn).to(getattr(minidl, dtype))
    model.load_state_dict({key: minidl.tensor(np.array(value)) for key, value in numbers["state"].items()})
    x = minidl.tensor(np.array(numbers["input"]), dtype=dtype, requires_grad=True)
    target = np.array(numbers["target"])
    output = model(x)
    loss = loss_function(output, minidl.tensor(target, dtype=dtype if target.dtype.kind == "f" else None))
    loss.backward()

    def agrees(found, wanted, what):
        assert found.dtype == np.int64 if what.endswith("num_batches_tracked") else found.dtype == dtype, what
        assert found.shape == np.shape(wanted), what
        assert np.abs(found.detach().numpy() - np.array(wanted)).max() <= tolerance, what

    agrees(output, expected["output"], "output")
    agrees(loss, expected["loss"], "loss")
    agrees(x.grad, expected["input_grad"], "gradient of the input")
    parameters = dict(model.named_parameters())
    assert parameters.keys() == expected["grads"].keys()
    for key, parameter in parameters.items():
        assert np.abs(expected["grads"][key]).max() > 100 * tolerance or key == "0.bias"
        agrees(parameter.grad, expected["grads"][key], f"gradient of {key}")
    buffers = dict(model.named_buffers())
    assert buffers.keys() == expected["buffers"].keys()
    for key, buffer in buffers.items():
        agrees(buffer, expected["buffers"][key], key)
