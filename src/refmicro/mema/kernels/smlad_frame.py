"""Padding of a convolution: input rows between columns of zero points, in rows on the stack.

For each output row the input rows under the filter's rows are copied once, words at a time, into
the buffer's rows; rows outside of the image become zero points. The columns beside the image are
filled once a call. A tile then finds every run of values in one piece, as without padding.
"""

from __future__ import annotations

from collections.abc import Callable

from refmicro.mema.kernels.listing import Counts
from refmicro.mema.kernels.smlad_registers import Registers
from refmicro.mema.kernels.smlad_walk import Frame, Walk, pointer_bias

_WORDS = 4
"""Words that one turn of a copy moves."""


def start_frame(registers: Registers, walk: Walk, zero_point: int) -> None:
    """Make room on the stack and fill it with the zero point; the input pointer is in r0."""
    frame, r = walk.frame, registers
    r.put("image", "r0")
    r.add("sp", "sp", -frame.rows * frame.row_bytes)
    r.listing.op("mov r7, sp")
    _zero_points(r, walk, zero_point)
    _move(r, frame.rows * frame.row_bytes, _fill(r))


def start_image(registers: Registers, frame: Frame) -> None:
    """Where the first filter row of the first output row lies, which may be above the image."""
    registers.get("r0", "image")
    registers.add("r0", "r0", frame.first_row * frame.input_row_bytes)
    registers.put("top", "r0")


def copy_rows(registers: Registers, walk: Walk, zero_point: int) -> None:
    """Bring the input rows under one output row, and set the pointer to the first pixel."""
    frame, r, listing = walk.frame, registers, registers.listing
    listing.title("rows under one output row")
    r.get("r0", "top")
    r.get("r1", "image")
    listing.op("mov r2, sp")
    r.constant("r3", frame.rows)
    r.constant("r4", frame.input_rows * frame.input_row_bytes)
    inside = _rows_inside(walk)
    with listing.repeat(frame.rows):
        everywhere = listing.runs
        listing.label("8")
        r.add("r7", "r2", frame.left_bytes)
        listing.op("sub r5, r0, r1")
        listing.op("cmp r5, r4")
        listing.op("bhs 81f", "outside of the image")
        listing.title("row inside of the image")
        with listing.happening(inside):
            listing.op("mov r6, r0")
            _move(r, frame.copied_bytes, _copy(r))
            listing.op("b 82f")
        listing.title("row outside of the image")
        with listing.happening(everywhere - inside):
            listing.label("81")
            _zero_points(r, walk, zero_point)
            _move(r, frame.copied_bytes, _fill(r))
        listing.title("next row")
        listing.label("82")
        r.add("r0", "r0", frame.dilation * frame.input_row_bytes)
        r.add("r2", "r2", frame.row_bytes)
        listing.op("subs r3, r3, #1")
        listing.op("bne 8b")
    r.step("top", frame.row_step * frame.input_row_bytes)
    listing.op("mov r0, sp")
    r.add("r0", "r0", -pointer_bias(walk))
    r.put("x", "r0")


def frame_formula(walk: Walk) -> Counts:
    """Accesses that make the frame: it is filled once, then written row by row."""
    frame = walk.frame
    copied = walk.passes * walk.images * frame.rows
    moves = sum(divmod(frame.copied_bytes, 4))
    inside = _rows_inside(walk)
    return Counts(
        input_loads=inside * moves,
        input_bytes=inside * frame.copied_bytes,
        frame_stores=sum(divmod(frame.rows * frame.row_bytes, 4)) + copied * moves,
    )


def _rows_inside(walk: Walk) -> int:
    """How many of all copied rows lie in their image."""
    f = walk.frame
    first = (pass_ * f.row_step + f.first_row for pass_ in range(walk.passes))
    rows = (top + row * f.dilation for top in first for row in range(f.rows))
    return walk.images * sum(0 <= row < f.input_rows for row in rows)


def _zero_points(registers: Registers, walk: Walk, zero_point: int) -> None:
    """r8 to r11 = zero points."""
    word = (zero_point & 0xFF) * 0x01010101 if walk.value_bytes == 1 else 0
    for name in ("r8", "r9", "r10", "r11"):
        registers.constant(name, word, "zero points")


def _move(registers: Registers, size: int, words: Callable[[int, int], None]) -> None:
    """Move `size` bytes to r7 by turns of four words; `words(count, bytes)` moves some."""
    turns, rest = divmod(size, 4 * _WORDS)
    listing = registers.listing
    if turns > 1:
        registers.constant("r12", turns)
        with listing.repeat(turns):
            listing.label("9")
            words(_WORDS, 4)
            listing.op("subs r12, r12, #1")
            listing.op("bne 9b")
    elif turns:
        words(_WORDS, 4)
    words(rest // 4, 4)
    words(rest % 4, 1)


def _copy(registers: Registers) -> Callable[[int, int], None]:
    def words(count: int, size: int) -> None:
        end = "b" if size == 1 else ""
        for i in range(count):
            registers.listing.op(
                f"ldr{end} r{8 + i}, [r6], #{size}", input_loads=1, input_bytes=size
            )
        for i in range(count):
            registers.listing.op(f"str{end} r{8 + i}, [r7], #{size}", frame_stores=1)

    return words


def _fill(registers: Registers) -> Callable[[int, int], None]:
    def words(count: int, size: int) -> None:
        end = "b" if size == 1 else ""
        for i in range(count):
            registers.listing.op(f"str{end} r{8 + i}, [r7], #{size}", frame_stores=1)

    return words
