"""C functions that emitted operators share; a file gets those that it uses.

All are exact. `scaled` is TFLM's `MultiplyByQuantizedMultiplier` for shifts to the right in closed
form: `SaturatingRoundingDoublingHighMul` of a multiplier that is not negative rounds
x * multiplier / 2^31 + 1/2 down for either sign, and `RoundingDivideByPOT` by 2^shift, which rounds
halves away from zero, is a shift of what is one less for negative numbers, plus half of 2^shift.
"""

from __future__ import annotations

import re

HELPERS = {
    "filled": """\
static void filled(void *target, uint8_t value, int size)
{
    uint8_t *bytes = target;
    for (int i = 0; i < size; i++) {
        bytes[i] = value;
    }
}
""",
    "copied": """\
static void copied(void *target, const void *source, int size)
{
    uint8_t *to = target;
    const uint8_t *from = source;
    for (int i = 0; i < size; i++) {
        to[i] = from[i];
    }
}
""",
    "clamp": """\
static inline int32_t clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : x;
}
""",
    "saturated_int8": """\
/* One instruction on cores that have SSAT. */
static inline int32_t saturated_int8(int32_t x)
{
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
    return (int32_t)__builtin_arm_ssat(x, 8);
#else
    return x < -128 ? -128 : x > 127 ? 127 : x;
#endif
}
""",
    "saturated_uint8": """\
static inline int32_t saturated_uint8(int32_t x)
{
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
    return (int32_t)__builtin_arm_usat(x, 8);
#else
    return x < 0 ? 0 : x > 255 ? 255 : x;
#endif
}
""",
    "doubled_high": """\
/* The high half of 2 * x * multiplier, rounded; multipliers are not negative. */
static inline int32_t doubled_high(int32_t x, int32_t multiplier)
{
    return (int32_t)(((int64_t)x * multiplier + 1073741824) >> 31);
}
""",
    "scaled": """\
/* x * multiplier / 2^(31 + shift), rounded twice and away from zero, plus what `rounding` has
   beside its half of 2^shift. The caller knows that nothing overflows; shift > 0. */
static inline int32_t scaled(int32_t x, int32_t multiplier, int32_t rounding, int shift)
{
    const int32_t high = doubled_high(x, multiplier);
    return (high + (high >> 31) + rounding) >> shift;
}
""",
    "word_by_half": """\
/* (factor * x >> 16) + addend for an x of 16 bits: one instruction where there is SMLAWB. */
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
#include <arm_acle.h>
#define word_by_half(factor, x, addend) __smlawb((factor), (x), (addend))
#else
#define word_by_half(factor, x, addend) \\
    ((int32_t)((int64_t)(factor) * (x) >> 16) + (addend))
#endif
""",
    "shortened": """\
/* x * factor >> shift with what is added smaller for negative x, whose sign is shifted there. */
static inline int32_t shortened(int32_t x, int32_t factor, int32_t addend, int sign, int shift)
{
    return (x * factor + (addend - (int32_t)((uint32_t)x >> sign))) >> shift;
}
""",
    "shortened_by_half": """\
/* The same with x * factor >> 16, for an x of 16 bits. */
static inline int32_t shortened_by_half(
    int32_t x, int32_t factor, int32_t addend, int sign, int shift)
{
    return word_by_half(factor, x, addend - (int32_t)((uint32_t)x >> sign)) >> shift;
}
""",
    "shortened_by_word": """\
/* The same for a longer x. */
static inline int32_t shortened_by_word(
    int32_t x, int32_t factor, int32_t addend, int sign, int shift)
{
    const int32_t high = (int32_t)((int64_t)x * factor >> 16);
    return (high + (addend - (int32_t)((uint32_t)x >> sign))) >> shift;
}
""",
    "divided": """\
/* x / 2^shift, halves away from zero, for any x; 0 <= shift < 32. */
static inline int32_t divided(int32_t x, int shift)
{
    const int32_t mask = (int32_t)((UINT32_C(1) << shift) - 1);
    return (x >> shift) + ((x & mask) > (mask >> 1) + (x < 0));
}
""",
    "rescaled": """\
/* x * multiplier * 2^(shift - 31) for any x and shift, as TFLM rounds and wraps it. */
static inline int32_t rescaled(int32_t x, int32_t multiplier, int shift)
{
    if (shift > 0) {
        return doubled_high((int32_t)((uint32_t)x << shift), multiplier);
    }
    return divided(doubled_high(x, multiplier), -shift);
}
""",
    "rescaled_wide": """\
/* The same for 64-bit sums, with the multiplier's upper 16 bits and one rounding. */
static inline int32_t rescaled_wide(int64_t x, int32_t multiplier, int shift)
{
    const int32_t reduced = multiplier < 0x7FFF0000 ? (multiplier + 32768) >> 16 : 0x7FFF;
    return (int32_t)((x * reduced + (INT64_C(1) << (14 - shift))) >> (15 - shift));
}
""",
    "saturated_shift": """\
/* x * 2^shift, saturated. */
static inline int32_t saturated_shift(int32_t x, int shift)
{
    const int64_t wide = (int64_t)x * (INT64_C(1) << shift);
    return wide > INT32_MAX ? INT32_MAX : wide < INT32_MIN ? INT32_MIN : (int32_t)wide;
}
""",
    "signed_doubled_high": """\
/* The high half of 2 * x * y, rounded to the nearest, halves up, for either sign. */
static inline int32_t signed_doubled_high(int32_t x, int32_t y)
{
    if (x == INT32_MIN && y == INT32_MIN) {
        return INT32_MAX;
    }
    return (int32_t)(((int64_t)x * y + 1073741824) >> 31);
}
""",
    "leading_zeros": """\
/* Zero bits above the highest one. */
static inline int leading_zeros(uint32_t x)
{
    int count = 32;
    while (x > 0) {
        x >>= 1;
        count--;
    }
    return count;
}
""",
    "one_over_one_plus": """\
/* 1 / (1 + a) for `a` in (0, 1), both with 31 bits behind the point: three steps of Newton's. */
static int32_t one_over_one_plus(int32_t a)
{
    const int64_t sum = (int64_t)a + INT32_MAX;
    const int32_t half = (int32_t)((sum + 1) / 2);
    int32_t x = 1515870810 + signed_doubled_high(half, -1010580540);
    for (int i = 0; i < 3; i++) {
        const int32_t error = 536870912 - signed_doubled_high(half, x);
        const int32_t step = saturated_shift(signed_doubled_high(x, error), 2);
        x = (int32_t)((uint32_t)x + (uint32_t)step);
    }
    return saturated_shift(x, 1);
}
""",
    "interpolated": """\
/* TFLM's function tables of an int16 value: 9 bits index, 7 bits interpolate. */
static inline int32_t interpolated(int32_t value, const int16_t *table)
{
    const int32_t index = 256 + (value >> 7);
    const int32_t base = table[index];
    return base + (((table[index + 1] - base) * (value & 127) + 64) >> 7);
}
""",
    "clamp_float": """\
/* NaN stays. */
static inline float clamp_float(float x, float low, float high)
{
    return x < low ? low : high < x ? high : x;
}
""",
    "square_float": """\
static inline float square_float(float x)
{
    return x * x;
}
""",
    "square_wrapping": """\
static inline int32_t square_wrapping(uint32_t x)
{
    return (int32_t)(x * x);
}
""",
    "quantized": """\
/* x / scale to the nearest, halves away from zero, plus the zero point; what does not fit int32
   becomes its smallest value first. */
static inline int32_t quantized(
    float x, float scale, int32_t zero_point, int32_t low, int32_t high)
{
    const double value = (double)(x / scale);
    int32_t rounded = INT32_MIN;
    if (value > -2147483647.5 && value < 2147483647.5) {
        rounded = (int32_t)(value < 0 ? value - 0.5 : value + 0.5);
    }
    rounded = (int32_t)((uint32_t)rounded + (uint32_t)zero_point);
    return rounded < low ? low : rounded > high ? high : rounded;
}
""",
    "wrapped_product": """\
static inline int32_t wrapped_product(int32_t x, int32_t multiplier, int32_t rounding)
{
    return (int32_t)((uint32_t)x * (uint32_t)multiplier + (uint32_t)rounding);
}
""",
    "logistic_int16": """\
/* Of x / (3 * 4096); the table holds 65536 * sigmoid(i / 24). */
static inline int16_t logistic_int16(int32_t x, const uint16_t *table)
{
    const uint32_t magnitude = x < 0 ? 0 - (uint32_t)x : (uint32_t)x;
    const uint32_t index = magnitude >> 9;
    int32_t result = 0x7FFF << 10;
    if (index < 255) {
        const int32_t rise = table[index + 1] - table[index];
        result = table[index] * 512 + (int32_t)(magnitude & 0x1FF) * rise;
    }
    if (x < 0) {
        result = (1 << 25) - result - 1;
    }
    return (int16_t)((result + (1 << 9)) >> 10);
}
""",
    "tanh_int16": """\
/* Of x / (3 * 4096); the table holds 65536 * sigmoid(i / 24). */
static inline int16_t tanh_int16(int32_t x, const uint16_t *table)
{
    const uint32_t magnitude = x < 0 ? 0 - (uint32_t)x : (uint32_t)x;
    const uint32_t index = magnitude >> 8;
    int32_t result = 0xFFFF * 256;
    if (index < 255) {
        const int32_t rise = table[index + 1] - table[index];
        result = table[index] * 256 + (int32_t)(magnitude & 0xFF) * rise;
    }
    result -= 1 << 23;
    if (x < 0) {
        result = -result - 1;
    }
    return (int16_t)((result + (1 << 7)) >> 8);
}
""",
}
"""In the order in which a file holds them."""


def needed(text: str) -> str:
    """Text of the helpers that a text calls, and of those that these call."""
    names: set[str] = set()
    new = {name for name in HELPERS if _calls(text, name)}
    while new:
        names |= new
        called = (name for name in HELPERS if any(_calls(HELPERS[n], name) for n in names))
        new = set(called) - names
    return "\n".join(HELPERS[name] for name in HELPERS if name in names)


def _calls(text: str, name: str) -> bool:
    return re.search(rf"\b{name}\(", text) is not None
