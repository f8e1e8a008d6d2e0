"""FFT of real int16 values as KISS FFT v130 computes it, all stages in one kernel.

Each stage divides by its factor first, so that nothing overflows, and rounds each product. C++
stores every step in int16; only what is stored at the end of a stage, or negated, can wrap around.

Values of several rows are transformed together, rows lying next to one another. KISS FFT works in
place on values that are put in another order first. Here a stage reads from one array and writes to
another, as Stockham's algorithm does: a butterfly then reads values that lie together for all
places with one twiddle, in the order in which they came, and no order is needed.

Arrays: x and out of shape (rows, values); `work` int16 of shape (2, 2, block * (half + 1)), from
and to, real and imaginary parts; `roots` int16 of shape (2, half + half / 2), those of the complex
FFT, then those that separate its real halves; `factors` from the innermost stage to the outermost.
Source: as in `_kiss_fft.py`.
"""

from __future__ import annotations

import numpy as np

from refmicro._jit import jit

BLOCK = 32
"""Rows that are transformed together, so that they stay in the cache."""


@jit
def forward(x, roots, factors, work, out):
    """`kiss_fftr`: half + 1 complex values, real and imaginary parts in turn; short rows are filled
    up with zeros."""
    half = out.shape[1] // 2 - 1
    block = work.shape[2] // (half + 1)
    for start in range(0, out.shape[0], block):
        rows = min(block, out.shape[0] - start)
        _deinterleave(x[start : start + rows], work[0], half)
        z = _stages(work, roots, factors, half, rows, False)
        _separate(work[z], roots, half, rows, work[1 - z])
        _interleave(work[1 - z], out[start : start + rows], half + 1)


@jit
def backward(x, roots, factors, work, out):
    """`kiss_fftri`: from half + 1 complex values to real ones."""
    half = x.shape[1] // 2 - 1
    block = work.shape[2] // (half + 1)
    for start in range(0, out.shape[0], block):
        rows = min(block, out.shape[0] - start)
        _deinterleave(x[start : start + rows], work[1], half + 1)
        _merge(work[1], roots, half, rows, work[0])
        z = _stages(work, roots, factors, half, rows, True)
        _interleave(work[z], out[start : start + rows], half)


@jit
def _deinterleave(x, z, count):
    """`count` complex values of all rows, zeros behind the end of x."""
    rows = x.shape[0]
    re, im = z[0, : count * rows].reshape(count, rows), z[1, : count * rows].reshape(count, rows)
    filled = min(count, x.shape[1] // 2)
    for row in range(rows):
        for i in range(filled):
            re[i, row], im[i, row] = x[row, 2 * i], x[row, 2 * i + 1]
    re[filled:] = 0
    im[filled:] = 0
    if x.shape[1] % 2 and filled < count:
        re[filled] = x[:, x.shape[1] - 1]


@jit
def _interleave(z, out, count):
    rows = out.shape[0]
    re, im = z[0, : count * rows].reshape(count, rows), z[1, : count * rows].reshape(count, rows)
    for row in range(rows):
        for i in range(count):
            out[row, 2 * i], out[row, 2 * i + 1] = re[i, row], im[i, row]


@jit
def _stages(work, roots, factors, half, rows, inverse):
    """`kiss_fft` of work[0]; which half of `work` holds the result."""
    inner, outer, side = 1, half, 0
    size = half * rows
    for i in range(factors.size):
        factor = factors[i]
        outer //= factor
        span = outer * rows
        if factor == 4 and span == 1:
            source, target = work[side, :, :size], work[1 - side, :, :size]
            _last_stage4(source[0], source[1], target[0], target[1], roots, inverse)
            return 1 - side
        source_re = work[side, 0, :size].reshape(inner, factor, span)
        source_im = work[side, 1, :size].reshape(inner, factor, span)
        side = 1 - side
        target_re = work[side, 0, :size].reshape(factor, inner, span)
        target_im = work[side, 1, :size].reshape(factor, inner, span)
        if factor == 4:
            _stage4(source_re, source_im, target_re, target_im, roots, outer, inverse)
        elif factor == 2:
            _stage2(source_re, source_im, target_re, target_im, roots, outer)
        elif factor == 3:
            _stage3(source_re, source_im, target_re, target_im, roots, outer)
        else:
            _stage5(source_re, source_im, target_re, target_im, roots, outer)
        inner *= factor
    return side


# Arithmetic


@jit(inline=True)
def _scaled(x, factor):
    """x * factor, rounded."""
    return np.int32(np.int32(x * factor + 16384) >> 15)


@jit(inline=True)
def _divided(x, divisor):
    """A product with the truncated reciprocal."""
    return _scaled(np.int32(x), 32767 // divisor)


@jit(inline=True)
def _product(a, b, c, d):
    """a * b + c * d, rounded."""
    return np.int32(np.int32(a * b + c * d + 16384) >> 15)


@jit(inline=True)
def _times(re, im, root):
    """Complex product, each part rounded once."""
    return _product(re, root[0], -im, root[1]), _product(re, root[1], im, root[0])


@jit(inline=True)
def _root(roots, index):
    return np.int32(roots[0, index]), np.int32(roots[1, index])


# Stages


@jit
def _stage2(source_re, source_im, target_re, target_im, roots, outer):
    """`kf_bfly2`."""
    for k in range(source_re.shape[0]):
        root = _root(roots, k * outer)
        for i in range(source_re.shape[2]):
            a_re, a_im = _divided(source_re[k, 0, i], 2), _divided(source_im[k, 0, i], 2)
            x, y = _divided(source_re[k, 1, i], 2), _divided(source_im[k, 1, i], 2)
            b_re, b_im = _times(x, y, root)
            target_re[0, k, i], target_im[0, k, i] = np.int16(a_re + b_re), np.int16(a_im + b_im)
            target_re[1, k, i], target_im[1, k, i] = np.int16(a_re - b_re), np.int16(a_im - b_im)


@jit
def _stage3(source_re, source_im, target_re, target_im, roots, outer):
    """`kf_bfly3`."""
    turn = np.int32(roots[1, outer * source_re.shape[0]])
    for k in range(source_re.shape[0]):
        root_1, root_2 = _root(roots, k * outer), _root(roots, 2 * k * outer)
        for i in range(source_re.shape[2]):
            a_re, a_im = _divided(source_re[k, 0, i], 3), _divided(source_im[k, 0, i], 3)
            x, y = _divided(source_re[k, 1, i], 3), _divided(source_im[k, 1, i], 3)
            b_re, b_im = _times(x, y, root_1)
            x, y = _divided(source_re[k, 2, i], 3), _divided(source_im[k, 2, i], 3)
            c_re, c_im = _times(x, y, root_2)
            sum_re, sum_im = b_re + c_re, b_im + c_im
            middle_re, middle_im = a_re - (sum_re >> 1), a_im - (sum_im >> 1)
            gap_re, gap_im = _scaled(b_re - c_re, turn), _scaled(b_im - c_im, turn)
            target_re[0, k, i] = np.int16(a_re + sum_re)
            target_im[0, k, i] = np.int16(a_im + sum_im)
            target_re[1, k, i] = np.int16(middle_re - gap_im)
            target_im[1, k, i] = np.int16(middle_im + gap_re)
            target_re[2, k, i] = np.int16(middle_re + gap_im)
            target_im[2, k, i] = np.int16(middle_im - gap_re)


@jit
def _stage4(source_re, source_im, target_re, target_im, roots, outer, inverse):
    """`kf_bfly4`."""
    for k in range(source_re.shape[0]):
        root_1, root_2 = _root(roots, k * outer), _root(roots, 2 * k * outer)
        root_3 = _root(roots, 3 * k * outer)
        for i in range(source_re.shape[2]):
            a = source_re[k, 0, i], source_im[k, 0, i]
            b = source_re[k, 1, i], source_im[k, 1, i]
            c = source_re[k, 2, i], source_im[k, 2, i]
            d = source_re[k, 3, i], source_im[k, 3, i]
            re, im = _butterfly4(a, b, c, d, root_1, root_2, root_3, inverse)
            target_re[0, k, i], target_im[0, k, i] = re[0], im[0]
            target_re[1, k, i], target_im[1, k, i] = re[1], im[1]
            target_re[2, k, i], target_im[2, k, i] = re[2], im[2]
            target_re[3, k, i], target_im[3, k, i] = re[3], im[3]


@jit
def _last_stage4(source_re, source_im, target_re, target_im, roots, inverse):
    """`kf_bfly4` of one row where no two butterflies have one twiddle; all arrays are vectors."""
    count = target_re.size // 4
    re_0, re_1 = target_re[:count], target_re[count : 2 * count]
    re_2, re_3 = target_re[2 * count : 3 * count], target_re[3 * count :]
    im_0, im_1 = target_im[:count], target_im[count : 2 * count]
    im_2, im_3 = target_im[2 * count : 3 * count], target_im[3 * count :]
    for k in range(count):
        a, b = (source_re[4 * k], source_im[4 * k]), (source_re[4 * k + 1], source_im[4 * k + 1])
        c = source_re[4 * k + 2], source_im[4 * k + 2]
        d = source_re[4 * k + 3], source_im[4 * k + 3]
        root_1, root_2, root_3 = _root(roots, k), _root(roots, 2 * k), _root(roots, 3 * k)
        re, im = _butterfly4(a, b, c, d, root_1, root_2, root_3, inverse)
        re_0[k], re_1[k], re_2[k], re_3[k] = re
        im_0[k], im_1[k], im_2[k], im_3[k] = im


@jit(inline=True)
def _butterfly4(a, b, c, d, root_1, root_2, root_3, inverse):
    """Four complex values to four others: real parts, imaginary parts."""
    a_re, a_im = _divided(a[0], 4), _divided(a[1], 4)
    b_re, b_im = _times(_divided(b[0], 4), _divided(b[1], 4), root_1)
    c_re, c_im = _times(_divided(c[0], 4), _divided(c[1], 4), root_2)
    d_re, d_im = _times(_divided(d[0], 4), _divided(d[1], 4), root_3)
    gap_re, gap_im = b_re - d_re, b_im - d_im
    if inverse:
        gap_re, gap_im = -gap_re, -gap_im
    re = (
        np.int16(a_re + c_re + b_re + d_re),
        np.int16(a_re - c_re + gap_im),
        np.int16(a_re + c_re - b_re - d_re),
        np.int16(a_re - c_re - gap_im),
    )
    im = (
        np.int16(a_im + c_im + b_im + d_im),
        np.int16(a_im - c_im - gap_re),
        np.int16(a_im + c_im - b_im - d_im),
        np.int16(a_im - c_im + gap_re),
    )
    return re, im


@jit
def _stage5(source_re, source_im, target_re, target_im, roots, outer):
    """`kf_bfly5`: a and b are the first two fifth roots of unity."""
    fifth = outer * source_re.shape[0]
    a_re, a_im = _root(roots, fifth)
    b_re, b_im = _root(roots, 2 * fifth)
    leg_re, leg_im = np.empty(5, np.int32), np.empty(5, np.int32)
    for k in range(source_re.shape[0]):
        for i in range(source_re.shape[2]):
            for leg in range(5):
                x, y = _divided(source_re[k, leg, i], 5), _divided(source_im[k, leg, i], 5)
                if leg > 0:
                    x, y = _times(x, y, _root(roots, leg * k * outer))
                leg_re[leg], leg_im[leg] = x, y
            near_re, near_im = leg_re[1] + leg_re[4], leg_im[1] + leg_im[4]
            far_re, far_im = leg_re[2] + leg_re[3], leg_im[2] + leg_im[3]
            near_gap_re, near_gap_im = leg_re[1] - leg_re[4], leg_im[1] - leg_im[4]
            far_gap_re, far_gap_im = leg_re[2] - leg_re[3], leg_im[2] - leg_im[3]
            first_re, first_im = leg_re[0], leg_im[0]
            target_re[0, k, i] = np.int16(first_re + near_re + far_re)
            target_im[0, k, i] = np.int16(first_im + near_im + far_im)
            x = first_re + _scaled(near_re, a_re) + _scaled(far_re, b_re)
            y = first_im + _scaled(near_im, a_re) + _scaled(far_im, b_re)
            turn_re = _scaled(near_gap_im, a_im) + _scaled(far_gap_im, b_im)
            turn_im = -_scaled(near_gap_re, a_im) - _scaled(far_gap_re, b_im)
            target_re[1, k, i], target_im[1, k, i] = np.int16(x - turn_re), np.int16(y - turn_im)
            target_re[4, k, i], target_im[4, k, i] = np.int16(x + turn_re), np.int16(y + turn_im)
            x = first_re + _scaled(near_re, b_re) + _scaled(far_re, a_re)
            y = first_im + _scaled(near_im, b_re) + _scaled(far_im, a_re)
            turn_re = -_scaled(near_gap_im, b_im) + _scaled(far_gap_im, a_im)
            turn_im = _scaled(near_gap_re, b_im) - _scaled(far_gap_re, a_im)
            target_re[2, k, i], target_im[2, k, i] = np.int16(x + turn_re), np.int16(y + turn_im)
            target_re[3, k, i], target_im[3, k, i] = np.int16(x - turn_re), np.int16(y - turn_im)


# Real values


@jit
def _separate(z, roots, half, rows, out):
    """The spectrum of real values from that of their pairs."""
    size = half * rows
    re, im = z[0, :size].reshape(half, rows), z[1, :size].reshape(half, rows)
    out_re = out[0, : size + rows].reshape(half + 1, rows)
    out_im = out[1, : size + rows].reshape(half + 1, rows)
    for row in range(rows):
        x, y = _divided(re[0, row], 2), _divided(im[0, row], 2)
        out_re[0, row], out_im[0, row] = np.int16(x + y), 0
        out_re[half, row], out_im[half, row] = np.int16(x - y), 0
    first = 1
    if rows == 1:
        _separate_row(z[0, :half], z[1, :half], roots[:, half:], out[0], out[1])
        first = (half + 1) // 2
    for k in range(first, half // 2 + 1):
        root = _root(roots, half + k - 1)
        for row in range(rows):
            even, odd = _even_and_odd(
                re[k, row], im[k, row], re[half - k, row], im[half - k, row], root
            )
            # Where both name the middle, C++ writes the second over the first.
            out_re[k, row] = np.int16((even[0] + odd[0]) >> 1)
            out_im[k, row] = np.int16((even[1] + odd[1]) >> 1)
            out_re[half - k, row] = np.int16((even[0] - odd[0]) >> 1)
            out_im[half - k, row] = np.int16((odd[1] - even[1]) >> 1)


@jit
def _separate_row(re, im, roots, out_re, out_im):
    """All of one row but the ends and the middle; what is written never overlaps."""
    half = re.size
    count = (half - 1) // 2
    low_re, low_im = re[1 : count + 1], im[1 : count + 1]
    high_re, high_im = re[half - count :], im[half - count :]
    up_re, up_im = out_re[1 : count + 1], out_im[1 : count + 1]
    down_re, down_im = out_re[half - count : half], out_im[half - count : half]
    for k in range(count):
        mirror = count - 1 - k
        even, odd = _even_and_odd(
            low_re[k], low_im[k], high_re[mirror], high_im[mirror], _root(roots, k)
        )
        up_re[k], up_im[k] = np.int16((even[0] + odd[0]) >> 1), np.int16((even[1] + odd[1]) >> 1)
        down_re[mirror] = np.int16((even[0] - odd[0]) >> 1)
        down_im[mirror] = np.int16((odd[1] - even[1]) >> 1)


@jit
def _merge(spectrum, roots, half, rows, out):
    """The spectrum of pairs of real values from theirs."""
    size = half * rows
    re = spectrum[0, : size + rows].reshape(half + 1, rows)
    im = spectrum[1, : size + rows].reshape(half + 1, rows)
    out_re, out_im = out[0, :size].reshape(half, rows), out[1, :size].reshape(half, rows)
    for row in range(rows):
        x, y = np.int32(re[0, row]), np.int32(re[half, row])
        out_re[0, row] = np.int16(_divided(np.int16(x + y), 2))
        out_im[0, row] = np.int16(_divided(np.int16(x - y), 2))
    for k in range(1, half // 2 + 1):
        root = _root(roots, half + k - 1)
        for row in range(rows):
            even, odd = _even_and_odd(
                re[k, row], im[k, row], re[half - k, row], im[half - k, row], root
            )
            # Where both name the middle, C++ writes the second over the first.
            out_re[k, row], out_im[k, row] = np.int16(even[0] + odd[0]), np.int16(even[1] + odd[1])
            out_re[half - k, row] = np.int16(even[0] - odd[0])
            out_im[half - k, row] = np.int16(-np.int32(np.int16(even[1] - odd[1])))


@jit(inline=True)
def _even_and_odd(low_re, low_im, high_re, high_im, root):
    """Sum, and turned difference, of a frequency and its mirror image, both halved before."""
    a_re, a_im = _divided(low_re, 2), _divided(low_im, 2)
    b_re, b_im = _divided(high_re, 2), _divided(np.int16(-np.int32(high_im)), 2)
    odd_re, odd_im = _times(a_re - b_re, a_im - b_im, root)
    odd = np.int32(np.int16(odd_re)), np.int32(np.int16(odd_im))
    return (a_re + b_re, a_im + b_im), odd
