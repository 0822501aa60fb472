"""Where a training step's time goes: every instruction of its Program timed alone, beside the whole step.

    python -m bench.costs

One thread. An instruction alone finds its operands in the nearest cache, so the sum may be less than the step.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.harness import limited
from bench.peak import Peak
from bench.peers.fastnn import Training
from bench.shapes import NETWORKS, NetworkShape, training_data
from fastnn.backends.native import NativeRunner
from fastnn.program import Extent, Instruction, Program

ROUNDS = 60


def best(run: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Seconds of the fastest of some calls; of processor time, since other programs may be running."""
    found = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        run()
        found = min(found, time.process_time() - began)
    return found


def describe(instruction: Instruction) -> str:
    """An instruction with the shapes of its operands."""
    shapes = [
        "x".join(str(n.maximum if isinstance(n, Extent) else n) for n in buffer.spec.shape) or "1"
        for buffer in instruction.operands
        if buffer is not None
    ]
    attributes = instruction.attributes
    flags = [name for name in ("transpose_a", "transpose_b", "epilogue", "rule", "axes") if attributes.get(name)]
    words = ", ".join(f"{name}={attributes[name]}" for name in flags)
    return f"{instruction.operation.name}({words}) {' '.join(shapes)}"


def show(shape: NetworkShape) -> None:
    """Prints the table of one network."""
    data = training_data(shape)
    training = Training(shape, data, shape.start())
    steps = min(shape.steps, 1000)
    training.fit(steps)
    stepper = training.trainer._stepper
    rows = steps * shape.batch
    samples = stepper.samples(data.x[:rows], data.y[:rows])
    whole = next(iter(stepper.runners.values()))
    arrays = {**samples.bound(), "input:index": training.order(steps).ravel()}
    table = stepper.table(whole, np.full(steps, shape.batch), np.arange(steps) * shape.batch)
    blocks = {"parameters": training.network.block.memory, "gradients": stepper.gradients, "state": stepper.state}

    def seconds(instructions: list[Instruction]) -> float:
        program: Program = dataclasses.replace(whole.program, instructions=instructions)
        runner: Any = NativeRunner(program, "float32", blocks)
        return best(lambda: runner.run(table, arrays)) / steps

    peak = Peak(1)
    rate = peak.flops / best(peak.run)
    print(f"\n{shape.name}; peak {rate / 1e9:.0f} GFLOP/s")
    print(f"{'ns':>9}  of peak  instruction")
    empty, total = seconds([]), 0.0
    for number, instruction in enumerate(whole.program.instructions):
        cost = seconds([instruction]) - empty
        total += cost
        share = instruction.flops / cost / rate
        print(f"{1e9 * cost:9.0f}  {share:7.0%}  {number:2d} {describe(instruction)}")
    step, epoch = seconds(whole.program.instructions), best(lambda: training.fit(steps), ROUNDS // 2) / steps
    print(f"{1e9 * empty:9.0f}           an empty step\n{1e9 * total:9.0f}           sum of the instructions")
    print(f"{1e9 * step:9.0f}  {shape.flops / step / rate:7.0%}  the step\n{1e9 * epoch:9.0f}           a step in fit")
    print(f"{1e9 * shape.flops / rate:9.0f}           arithmetic of the products at the peak")


if __name__ == "__main__":
    with limited(1):
        for each in NETWORKS:
            show(each)
