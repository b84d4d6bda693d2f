"""Writes cnn.json and mlp.json: two small networks in numbers, as PyTorch computed them.

The only file here that needs PyTorch; the tests read what it wrote. Run it as ``python tests/torch_numbers/make.py``.

Each file has the input, the target and the parameters, and for float32 and float64 the output, the loss, the gradients
of the input and of all parameters, and the buffers after the step.
"""

import json
from pathlib import Path

import torch
from networks import cnn, mlp  # beside this script
from torch import nn

HERE = Path(__file__).parent


def rounded(x: torch.Tensor) -> torch.Tensor:
    """To six decimals: what the file says is then exactly what went in."""
    return (x.double() * 1e6).round() / 1e6


def run(
    model: nn.Module, loss_function: nn.Module, state: dict, x: torch.Tensor, target: torch.Tensor, dtype: torch.dtype
) -> dict:
    model.to(dtype).load_state_dict(state)
    x = x.to(dtype).requires_grad_()
    output = model(x)
    loss = loss_function(output, target.to(dtype) if target.is_floating_point() else target)
    loss.backward()
    return {
        "output": output.tolist(),
        "loss": loss.item(),
        "input_grad": x.grad.tolist(),
        "grads": {name: p.grad.tolist() for name, p in model.named_parameters()},
        "buffers": {name: b.tolist() for name, b in model.named_buffers()},
    }


def write(name: str, make, loss_function: nn.Module, x: torch.Tensor, target: torch.Tensor) -> None:
    state = {k: v if v.dtype == torch.int64 else rounded(v) for k, v in make(nn).state_dict().items()}
    for key in state:
        if key in ("1.weight", "1.bias", "2.weight", "2.bias"):  # normalisation: neither all ones nor all zeros
            state[key] = rounded(state[key] + 0.3 * torch.randn(state[key].shape))
    x = rounded(x)
    document = {
        "made_with": f"PyTorch {torch.__version__.split('+')[0]}, CPU",
        "input": x.tolist(),
        "target": target.tolist(),
        "state": {k: v.tolist() for k, v in state.items()},
        **{
            str(dtype).removeprefix("torch."): run(make(nn), loss_function, state, x, target, dtype)
            for dtype in (torch.float32, torch.float64)
        },
    }
    (HERE / f"{name}.json").write_text(
        json.dumps(document, indent=None, separators=(",", ":")) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    write("cnn", cnn, nn.CrossEntropyLoss(label_smoothing=0.1), torch.randn(4, 2, 8, 8), torch.tensor([4, 0, 2, 2]))
    write("mlp", mlp, nn.MSELoss(), torch.randn(5, 6), rounded(torch.randn(5, 3)))
