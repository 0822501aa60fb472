"""A Program in words: what an ordinary person reads to see what will be computed, where, and at what cost."""

from __future__ import annotations

from fastnn.graph.plan import is_serial
from fastnn.program import Buffer, Extent, Instruction, Program

NAMED = ("parameters", "gradients", "state")  # blocks whose contents have names that say something


def explain(program: Program, title: str) -> str:
    """A table of the instructions and the totals.

    Each line: number, operation (with what was fused into it), shapes of the operands, floating-point operations,
    bytes read and written, whether threads share it; "│" marks where threads wait for each other.
    """
    header = ("", "operation", "reads → writes", "FLOPs", "bytes", "threads")
    rows = [_row(number, instruction) for number, instruction in enumerate(program.instructions)]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [title, "", as_line(header, widths), "─" * (sum(widths) + 2 * len(widths))]
    for number, row in enumerate(rows):
        if number == program.commit:
            lines.append("── commit point: nothing before this line changes the network ".ljust(sum(widths) + 10, "─"))
        lines.append(as_line(row, widths))
    flops = sum(instruction.flops for instruction in program.instructions)
    traffic = sum(instruction.nbytes for instruction in program.instructions)
    lines += [
        "─" * (sum(widths) + 2 * len(widths)),
        f"{len(rows)} instructions, {shorten(flops)}FLOP, {shorten(traffic)}B of memory traffic at most, "
        f"arena {shorten(program.arena_size)}B",
        "│: a barrier before the instruction.  " + _extents(program),
    ]
    return "\n".join(lines).rstrip()


def _extents(program: Program) -> str:
    extents = ", ".join(f"{extent.name} is at most {extent.maximum}" for extent in program.extents)
    return f"Sizes are maxima: {extents}." if extents else ""


def _row(number: int, instruction: Instruction) -> tuple[str, ...]:
    return (
        f"{number:>3} {'│' if instruction.barrier else ' '}",
        *describe(instruction),
        shorten(instruction.flops),
        shorten(instruction.nbytes),
        "1" if is_serial(instruction) else "shared",
    )


def describe(instruction: Instruction) -> tuple[str, str]:
    """Its operation, and what it reads and writes, in words; what it changes in place has its shape on the left."""
    changed = {instruction.outputs[output] for output, _ in instruction.operation.in_place}
    reads = ", ".join(_shape(buffer) for buffer in instruction.inputs if buffer is not None)
    writes = ", ".join(buffer.name if buffer in changed and buffer.block in NAMED else _shape(buffer)
                       for buffer in instruction.outputs if buffer is not None)  # fmt: skip
    if "slot" in instruction.attributes:
        writes = f"the step's {instruction.attributes['slot']}"
    return _name(instruction), f"{reads} → {writes}" if writes else reads


def _name(instruction: Instruction) -> str:
    """The operation's name, transposes as ᵀ, what was added to it and the function that was fused into it."""
    attributes = instruction.attributes
    parts = [instruction.operation.name]
    if attributes.get("transpose_a") or attributes.get("transpose_b"):
        first, second = "aᵀ" if attributes.get("transpose_a") else "a", "bᵀ" if attributes.get("transpose_b") else "b"
        parts.append(f"{first}·{second}")
    if instruction.operation.takes_epilogue and len(instruction.inputs) > 2 and instruction.inputs[2] is not None:
        parts.append("+ bias")
    if "epilogue" in attributes:
        parts.append(f"+ {attributes['epilogue']}")
    return " ".join(parts)


def _shape(buffer: Buffer) -> str:
    if buffer.block.startswith("input:"):
        return buffer.block.removeprefix("input:")
    sizes = ", ".join(str(size.maximum) if isinstance(size, Extent) else str(size) for size in buffer.spec.shape)
    name = f"{buffer.name} " if buffer.block in NAMED or buffer.block.startswith("output:") else ""
    return f"{name}({sizes})" if sizes else "a number"


def shorten(number: float) -> str:
    """With a unit's prefix: 1.2 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f} "


def as_line(cells: tuple[str, ...], widths: list[int]) -> str:
    """A line of a table: three columns of words, then numbers."""
    left = [cell.ljust(width) for cell, width in zip(cells[:3], widths[:3], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
    return "  ".join(left + right)
