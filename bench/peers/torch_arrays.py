"""PyTorch's elementwise functions: the operators under its modules and optimizers, into tensors that are there already.

`torch.ops.aten` has the forms with `out=` of what `torch.nn.functional` and autograd call. Updates are the fused ones
that `torch.optim` calls where it has them; RMSprop is its plain form, which is faster than the foreach one for a single
tensor. Nothing is allocated but what that does, and nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch.optim.rmsprop import rmsprop

from bench.shapes import ElementwiseShape

Array = NDArray[Any]
aten = torch.ops.aten
RATE = 0.01

# Of x into y.
FUNCTIONS: dict[str, Callable[..., object]] = {
    "relu": lambda x, y: torch.clamp_min(x, 0.0, out=y),
    "leaky_relu": lambda x, y: aten.leaky_relu.out(x, 0.01, out=y),
    "elu": lambda x, y: aten.elu.out(x, out=y),
    "sigmoid": lambda x, y: torch.sigmoid(x, out=y),
    "tanh": lambda x, y: torch.tanh(x, out=y),
    "softplus": lambda x, y: aten.softplus.out(x, out=y),
    "silu": lambda x, y: aten.silu.out(x, out=y),
    "gelu": lambda x, y: aten.gelu.out(x, out=y),
    "gelu_tanh": lambda x, y: aten.gelu.out(x, approximate="tanh", out=y),
    "softmax": lambda x, y: aten._softmax.out(x, 1, False, out=y),
    "log_softmax": lambda x, y: aten._log_softmax.out(x, 1, False, out=y),
    "sum": lambda x, y: torch.sum(x, 0, out=y),
    "sum of rows": lambda x, y: torch.sum(x, 1, out=y),
    "sum of columns": lambda x, y: torch.sum(x, 0, out=y),
}
# Of dy and what the slope is taken of, into dx.
SLOPES: dict[str, Callable[..., object]] = {
    "relu slope": lambda dy, y, dx: aten.threshold_backward.grad_input(dy, y, 0, grad_input=dx),
    "leaky_relu slope": lambda dy, y, dx: aten.leaky_relu_backward.grad_input(dy, y, 0.01, True, grad_input=dx),
    "elu slope": lambda dy, y, dx: aten.elu_backward.grad_input(dy, 1.0, 1.0, 1.0, True, y, grad_input=dx),
    "sigmoid slope": lambda dy, y, dx: aten.sigmoid_backward.grad_input(dy, y, grad_input=dx),
    "tanh slope": lambda dy, y, dx: aten.tanh_backward.grad_input(dy, y, grad_input=dx),
    "softplus slope": lambda dy, x, dx: aten.softplus_backward.grad_input(dy, x, 1.0, 20.0, grad_input=dx),
    "silu slope": lambda dy, x, dx: aten.silu_backward.grad_input(dy, x, grad_input=dx),
    "gelu slope": lambda dy, x, dx: aten.gelu_backward.grad_input(dy, x, grad_input=dx),
    "gelu_tanh slope": lambda dy, x, dx: aten.gelu_backward.grad_input(dy, x, approximate="tanh", grad_input=dx),
    "softmax gradient": lambda dy, y, dx: aten._softmax_backward_data.out(dy, y, 1, torch.float32, grad_input=dx),
    "log_softmax gradient": lambda dy, y, dx: aten._log_softmax_backward_data.out(dy, y, 1, torch.float32, out=dx),
}


def elementwise(shape: ElementwiseShape, arrays: list[Array]) -> Callable[[int], list[Array]]:
    """The operation, into the same tensors each time."""
    call, results = _operation(shape, [torch.from_numpy(array) for array in arrays])

    def run(times: int) -> list[Array]:
        for _ in range(times):
            call()
        return [each.numpy() for each in results]

    return torch.no_grad()(run)


def _operation(shape: ElementwiseShape, x: list[torch.Tensor]) -> tuple[Callable[[], object], list[torch.Tensor]]:
    name = shape.operation
    if shape.update:
        return _update(shape.update, *x), x[1:]
    if name.startswith("sum"):
        out = torch.empty(() if name == "sum" else x[0].shape[1 if name == "sum of columns" else 0])
        return partial(FUNCTIONS[name], x[0], out), [out]
    y = torch.empty_like(x[0])
    if name == "dropout":
        noise = torch.empty_like(x[0])  # what torch.nn.functional.dropout does, without a new mask each time

        def dropout() -> None:
            noise.bernoulli_(0.5).mul_(2.0)
            torch.mul(x[0], noise, out=y)

        return dropout, [y]
    if name == "cross_entropy":
        return _cross_entropy(x[0], x[1], y)
    return partial(FUNCTIONS[name] if name in FUNCTIONS else SLOPES[name], *x, y), [y]


def _cross_entropy(x: torch.Tensor, labels: torch.Tensor, dx: torch.Tensor) -> tuple[Any, list[torch.Tensor]]:
    """What `torch.nn.functional.cross_entropy` and its backward pass call."""
    likelihood, losses, slopes = torch.empty_like(x), torch.empty(len(x)), torch.empty_like(x)
    weight, scale = torch.tensor(0.0), torch.full((len(x),), 1.0 / len(x))

    def run() -> None:
        aten._log_softmax.out(x, 1, False, out=likelihood)
        aten.nll_loss_forward.output(likelihood, labels, None, 0, -100, output=losses, total_weight=weight)
        aten.nll_loss_backward.grad_input(scale, likelihood, labels, None, 0, -100, weight, grad_input=slopes)
        aten._log_softmax_backward_data.out(slopes, likelihood, 1, torch.float32, out=dx)

    return run, [losses, dx]


def _update(rule: str, g: torch.Tensor, w: torch.Tensor, *states: torch.Tensor) -> Callable[[], object]:
    """One step of an optimizer, always the eleventh."""
    step = torch.tensor(10.0)
    if rule in ("sgd", "momentum", "nesterov"):
        buffers = [states[0]] if states else []
        return partial(torch._fused_sgd_, [w], [g], buffers, weight_decay=0.0, momentum=0.9 if states else 0.0, lr=RATE,
                       dampening=0.0, nesterov=rule == "nesterov", maximize=False, is_first_step=False)  # fmt: skip
    if rule in ("adam", "adamw"):
        update = torch._fused_adam_ if rule == "adam" else torch._fused_adamw_

        def run() -> None:
            step.fill_(11.0)
            update([w], [g], [states[0]], [states[1]], [], [step], lr=RATE, beta1=0.9, beta2=0.999, eps=1e-8,
                   weight_decay=0.01 if rule == "adamw" else 0.0, amsgrad=False, maximize=False)  # fmt: skip

        return run
    if rule == "adagrad":
        return partial(torch._fused_adagrad_, [w], [g], [states[0]], [step], lr=RATE, lr_decay=0.0, weight_decay=0.0,
                       eps=1e-10, maximize=False)  # fmt: skip
    square, *velocity = states
    return partial(rmsprop, [w], [g], [square], [], velocity, [step], lr=RATE, alpha=0.99, eps=1e-8,
                   weight_decay=0.0, momentum=0.9 if velocity else 0.0, centered=False, foreach=False)  # fmt: skip
