"""Random numbers and dropout: counter-based, so that every thread, level, dtype and backend draws the same bits.

The generator is Philox4x32-10: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as
1, 2, 3", SC11. A block of four 32-bit words is a function of the key (the seed) and of a counter of four words: the
block's number (low, high), the number of the operation in its Program, and the step. Element i, counted in C order,
has word i % 4 of block i / 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from fastnn.graph.tensor import Symbol, apply, as_tensor
from fastnn.ops._dispatch import Operand, dispatch, expect_floats
from fastnn.program import Attributes, Kernel, Operation, Spec, cast, register

WORD = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # what the key's two words grow by in every round
ROUNDS = 10


def philox(xp: ModuleType, seed: int, operation: int, step: Any, n: int) -> Any:
    """The first n words (uint32) of one operation in one step."""
    blocks = xp.arange((n + 3) // 4, dtype=xp.uint64)
    low32, half = xp.uint64(WORD), xp.uint64(32)
    constant = xp.zeros_like(blocks)
    counter = (
        blocks & low32,
        blocks >> half,
        constant + xp.uint64(operation & WORD),
        constant + (cast(step, xp.uint64) & low32),
    )
    return xp.stack(rounds(xp, counter, seed), axis=-1).reshape(-1)[:n].astype(xp.uint32)


def rounds(xp: ModuleType, counter: Sequence[Any], seed: int) -> list[Any]:
    """Four arrays of words, scrambled: uint64 arrays whose upper halves are zero."""
    a, b, c, d = counter
    low32, half = xp.uint64(WORD), xp.uint64(32)
    keys = [seed & WORD, seed >> 32 & WORD]
    for _ in range(ROUNDS):
        product0, product1 = a * xp.uint64(MULTIPLIERS[0]), c * xp.uint64(MULTIPLIERS[1])
        a, b = (product1 >> half) ^ b ^ xp.uint64(keys[0]), product1 & low32
        c, d = (product0 >> half) ^ d ^ xp.uint64(keys[1]), product0 & low32
        keys = [(key + growth) & WORD for key, growth in zip(keys, WEYL, strict=True)]
    return [a, b, c, d]


def _threshold(rate: float) -> int:
    """Words below it are dropped."""
    return min(round(rate * 2.0**32), WORD)


def _dropout(xp: ModuleType, inputs: Sequence[Any], attributes: Attributes, run: Mapping[str, float]) -> Sequence[Any]:
    x = inputs[0]
    words = philox(xp, attributes["seed"], attributes["operation"], run["step"], x.size).reshape(x.shape)
    scale = x.dtype.type(1.0 / (1.0 - attributes["rate"]))
    return [xp.where(words >= xp.uint32(_threshold(attributes["rate"])), x * scale, x.dtype.type(0))]


def _infer(inputs: Sequence[Spec | None], attributes: Attributes) -> Sequence[Spec]:
    expect_floats("dropout", *inputs)
    return [inputs[0]]  # type: ignore[list-item]


register(
    Operation(
        "dropout",
        infer=_infer,
        reference=_dropout,
        gradient=lambda node, gradients: [apply("dropout", gradients[0], **node.attributes)],
        slots=lambda attributes: ("step",),
        kernel=Kernel(
            "dropout",
            integers=lambda attributes: (attributes["seed"], attributes["operation"], _threshold(attributes["rate"])),
            numbers=lambda attributes: (1.0 / (1.0 - attributes["rate"]),),
        ),
        cost=0.5,
    )
)


def dropout(x: Operand, rate: float, *, seed: int = 0, operation: int = 0, step: int = 0, out: Any = None) -> Any:
    """Sets each element to zero with probability `rate` and multiplies the others by 1 / (1 - rate).

    A dropped element becomes +0 whatever it was, NaN and infinity included. Which ones are dropped depends on (seed,
    operation, step) and the element's place in C order, on nothing else; the gradient draws the same mask again.
    N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, "Dropout", JMLR 15, 2014, in the "inverted"
    form that leaves nothing to do at prediction.

    Parameters
    ----------
    x
        Any shape, float32 or float64.
    rate
        In [0, 1).
    seed
        Not negative, below 2**63. In a trace it is the graph's.
    operation
        Tells apart the random operations of one Program. In a trace the graph counts them.
    step
        The training step. In a trace it comes from the run row.
    out
        Receives the result, if `x` is an array.

    Raises
    ------
    ValueError
        If `rate` is not in [0, 1), `seed` is out of range, or one is given that the trace decides.
    """
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"dropout: rate must be in [0, 1), got {rate!r}")
    if not 0 <= seed < 2**63:
        raise ValueError(f"dropout: seed must be in [0, 2**63), got {seed!r}")
    if isinstance(x, Symbol):
        if seed or operation or step:
            raise ValueError("dropout: in a trace seed, operation and step are the graph's; do not give them")
        graph = as_tensor(x).node.graph  # type: ignore[union-attr]
        seed, operation = graph.seed, graph.next_random()
    return dispatch("dropout", [x], out, run={"step": step}, rate=float(rate), seed=seed, operation=operation)
