"""Which tiles a target's registers hold: one inequality for each loop order.

A tile keeps sums, the operand that stays, and what streams past it. With q registers a sum (2 where
sums are 64 bits), r registers a held word (2 where the multiply instruction wants it unpacked), u
input words for each filter word, P registers of parameters a channel, and R registers in all less
those of pointers, counters and temporary values (`Target.fixed_registers`):

    output-stationary   q m n + r min(m, u n) + r + p (n - 1) <= R    the side with less is held
    outer product       q m n + r min(ceil(m / v), n) + r + p (n - 1) <= R
    weight-stationary   r m k + (P + q) m + r <= R
    input-stationary    r u n k + (q + g) n + r + S <= R   g = 1 where outputs gather in words

S pointers walk over parameter arrays while inputs stay; the other orders need none of them inside
their loop.

p is 1 where each row needs a pointer of its own (a convolution's patches), which is why those keep
their outputs and nothing else.

A target with vectors keeps operands in vector registers: then the terms with r stand against those
alone (r = 1), and sums and parameters against the registers that sums can have; pointers take none
of either.

Each is solved for the largest m, n or k by one division, because min(m, u n) <= z holds as soon as
one of its sides does.
"""

from __future__ import annotations

from refmicro.mema.cost import Order, Tile
from refmicro.mema.layout import Layout
from refmicro.mema.target import Target


def needed(target: Target, used: Layout, order: Order, tile: Tile) -> tuple[int, int]:
    """(registers for sums and parameters, registers for operands) of a tile."""
    held, q, m, n, k = target.operand_registers, used.sum_words, tile.m, tile.n, tile.k
    pointers = n - 1 if used.gathered and not used.vector else 0
    if order is Order.OUTPUT:
        return q * m * n + pointers, held * min(m, ratio(used) * n) + held
    if order is Order.OUTER:
        return q * m * n + pointers, held * min(-(-m // used.filter_values), n) + held
    if order is Order.WEIGHT:
        return (parameters(used) + q) * m, held * m * k + held
    return (q + gathers(used, m)) * n + streams(used), held * ratio(used) * n * k + held


def fits(target: Target, used: Layout, order: Order, tile: Tile) -> bool:
    """Whether the registers hold a tile."""
    if used.gathered and order in (Order.WEIGHT, Order.INPUT):
        return False
    sums, operands = needed(target, used, order, tile)
    if target.vector_bytes:
        return sums <= budget(target) and operands <= target.vector_registers
    return sums + operands <= budget(target)


def budget(target: Target) -> int:
    """R: registers that tiles share."""
    return target.registers - target.fixed_registers


def ratio(used: Layout) -> int:
    """u: input loads of a row for each filter load of a channel."""
    return max(1, used.filter_values // used.input_values)


def parameters(used: Layout) -> int:
    """P: registers of one channel's bias, multiplier and shift."""
    return used.bias_words + (2 if used.scaled else 0)


def streams(used: Layout) -> int:
    """S: arrays of parameters that are read while inputs stay."""
    return (1 if used.bias_words else 0) + (2 if used.scaled else 0)


def gathers(used: Layout, m: int) -> int:
    """g: registers in which a row's outputs gather, where they leave as words."""
    return 1 if m > 0 and used.output_values > 1 and m % used.output_values == 0 else 0


def most_channels(target: Target, used: Layout, order: Order, n: int) -> int:
    """The largest m of an output-stationary tile of n rows; 0 where not even one fits."""
    q, held, room = used.sum_words, target.operand_registers, budget(target)
    room -= n - 1 if used.gathered and not used.vector else 0
    if target.vector_bytes:
        most = room // (q * n)
        # The held side is the smaller: it is small enough if either of the two is.
        spare = target.vector_registers // held - 1
        return most if ratio(used) * n <= spare else min(most, spare)
    room -= held
    if order is Order.OUTER:
        return max((room - held * n) // (q * n), _outer_channels(used, held, q * n, room))
    return max((room - held * ratio(used) * n) // (q * n), room // (q * n + held), 0)


def _outer_channels(used: Layout, held: int, sums: int, room: int) -> int:
    """Largest m with sums * m + held * ceil(m / v) <= room."""
    v = used.filter_values
    blocks, rest = divmod(max(room, 0), sums * v + held)
    return blocks * v + max(0, min(v - 1, (rest - held) // sums))


def stationary_needs(target: Target, used: Layout, order: Order, k: int, m: int) -> tuple[int, int]:
    """Registers of (operand words, sums and parameters) for each channel or row that stays."""
    held = target.operand_registers
    if order is Order.WEIGHT:
        return held * k, parameters(used) + used.sum_words
    return held * ratio(used) * k, used.sum_words + gathers(used, m)


def most_stationary(target: Target, used: Layout, order: Order, k: int, m: int) -> int:
    """The largest m (weight-) or n (input-stationary, m channels a step) that keeps k steps."""
    held, room = target.operand_registers, budget(target)
    if used.gathered:
        return 0
    words, sums = stationary_needs(target, used, order, k, m)
    room -= streams(used) if order is Order.INPUT else 0
    if target.vector_bytes:
        return max(0, min(room // sums, (target.vector_registers - held) // words))
    return max(0, (room - held) // (words + sums))
