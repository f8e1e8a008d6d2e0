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
    "saturated_int16": """\
static inline int32_t saturated_int16(int32_t x)
{
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
    return (int32_t)__builtin_arm_ssat(x, 16);
#else
    return x < -32768 ? -32768 : x > 32767 ? 32767 : x;
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
    "word_to": """\
/* Four bytes to any address. */
static inline void word_to(int8_t *to, int32_t word)
{
    __builtin_memcpy(to, &word, sizeof word);
}
""",
    "four_products": """\
/* Sums of four neighbouring channels plus their inputs times their weights: a word of inputs gives
   halves of channels 0 and 2, and of 1 and 3, and the weights lie in such halves. Assembly keeps
   what compilers would load ahead and then spill. */
#define four_products(s, from, place, weights, word) \\
    do { \\
        int32_t x_, e_, v_, w_; \\
        __asm__ volatile( \\
            "ldr %4, [%8, %9]\\n\\tldrd %6, %7, [%10, %11]\\n\\t" \\
            "sxtb16 %5, %4\\n\\tsxtb16 %4, %4, ror #8\\n\\t" \\
            "smlabb %0, %5, %6, %0\\n\\tsmlatt %2, %5, %6, %2\\n\\t" \\
            "smlabb %1, %4, %7, %1\\n\\tsmlatt %3, %4, %7, %3" \\
            : "+&r"(s##0), "+&r"(s##1), "+&r"(s##2), "+&r"(s##3), \\
              "=&r"(x_), "=&r"(e_), "=&r"(v_), "=&r"(w_) \\
            : "r"(from), "n"(place), "r"(weights), "n"(4 * (word)) : "memory"); \\
    } while (0)
""",
    "four_offset_products": """\
/* The same after `points` was subtracted, a zero point in both halves. */
#define four_offset_products(s, from, points, weights) \\
    do { \\
        int32_t x_, e_, v_, w_; \\
        __asm__ volatile( \\
            "ldr %4, [%8]\\n\\tldrd %6, %7, [%10]\\n\\t" \\
            "sxtb16 %5, %4\\n\\tsxtb16 %4, %4, ror #8\\n\\t" \\
            "ssub16 %5, %5, %9\\n\\tssub16 %4, %4, %9\\n\\t" \\
            "smlabb %0, %5, %6, %0\\n\\tsmlatt %2, %5, %6, %2\\n\\t" \\
            "smlabb %1, %4, %7, %1\\n\\tsmlatt %3, %4, %7, %3" \\
            : "+&r"(s##0), "+&r"(s##1), "+&r"(s##2), "+&r"(s##3), \\
              "=&r"(x_), "=&r"(e_), "=&r"(v_), "=&r"(w_) \\
            : "r"(from), "r"(points), "r"(weights) : "memory"); \\
    } while (0)
""",
    "four_loaded": """\
/* Four sums from four words. */
#define four_loaded(s, from, word) \\
    __asm__ volatile( \\
        "ldrd %0, %1, [%4, %5]\\n\\tldrd %2, %3, [%4, %6]" \\
        : "=&r"(s##0), "=&r"(s##1), "=&r"(s##2), "=&r"(s##3) \\
        : "r"(from), "n"(4 * (word)), "n"(4 * (word) + 8) : "memory")
""",
    "rounded_int8": """\
/* TFLM's requantization of a sum, saturated. The factor is twice the multiplier less 2^32, the
   shift is to the right; `round` adds the output's offset: "adc" with it, "sbc" with -1 - it. */
#define rounded_int8(sum, factor, shift, round, offset) \\
    __asm__( \\
        "smmlar %0, %0, %1, %0\\n\\tadds %0, %0, %0, asr #31\\n\\tasrs %0, %0, %2\\n\\t" \\
        round " %0, %0, %3\\n\\tssat %0, #8, %0" \\
        : "+&r"(sum) : "r"(factor), "r"(shift), "I"(offset) : "cc")
""",
    "rounded_int8_by": """\
/* The same with factor and shift from two words. */
#define rounded_int8_by(sum, from, word, round, offset) \\
    do { \\
        int32_t d_, e_; \\
        __asm__ volatile( \\
            "ldrd %1, %2, [%3, %4]\\n\\tsmmlar %0, %0, %1, %0\\n\\t" \\
            "adds %0, %0, %0, asr #31\\n\\tasrs %0, %0, %2\\n\\t" \\
            round " %0, %0, %5\\n\\tssat %0, #8, %0" \\
            : "+&r"(sum), "=&r"(d_), "=&r"(e_) \\
            : "r"(from), "n"(4 * (word)), "I"(offset) : "cc", "memory"); \\
    } while (0)
""",
    "four_bytes": """\
/* The low bytes of four values in the first one. */
#define four_bytes(s) \\
    __asm__( \\
        "bfi %0, %1, #8, #8\\n\\tbfi %0, %2, #16, #8\\n\\tbfi %0, %3, #24, #8" \\
        : "+&r"(s##0) : "r"(s##1), "r"(s##2), "r"(s##3))
""",
    "four_at_least": """\
/* Four int8 values limited by those of another word. */
static inline int32_t four_at_least(int32_t word, int32_t low)
{
    int32_t rest;
    __asm__("ssub8 %1, %0, %2\\n\\tsel %0, %0, %2" : "+&r"(word), "=&r"(rest) : "r"(low) : "cc");
    return word;
}
""",
    "four_at_most": """\
static inline int32_t four_at_most(int32_t word, int32_t high)
{
    int32_t rest;
    __asm__("ssub8 %1, %2, %0\\n\\tsel %0, %0, %2" : "+&r"(word), "=&r"(rest) : "r"(high) : "cc");
    return word;
}
""",
    "quotient": """\
/* a / b; 0 where b is 0, and what wraps around where the quotient does not fit. */
static inline int32_t quotient(int32_t a, int32_t b)
{
    if (b == 0) {
        return 0;
    }
    return b == -1 ? (int32_t)(0 - (uint32_t)a) : a / b;
}
""",
    "rounded_root": """\
/* The square root to the nearest, but for values whose rounded root would have a bit more. */
static uint32_t rounded_root(uint64_t x)
{
    uint64_t root = 0;
    uint64_t rest = x;
    for (uint64_t bit = UINT64_C(1) << 62; bit != 0; bit >>= 2) {
        if (rest >= root + bit) {
            rest -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    const uint64_t largest = x >> 32 == 0 ? 0xFFFF : 0xFFFFFFFF;
    return (uint32_t)(root + (rest > root && root != largest));
}
""",
    "wide_function": """\
/* TFLM's `WideDynamicFunction`: parabolas over a quarter of each power of two. */
static int16_t wide_function(uint32_t x, const arena_int16_t *lut)
{
    if (x <= 2) {
        return lut[x];
    }
    const int interval = 32 - leading_zeros(x);
    const arena_int16_t *piece = lut + 4 * interval - 6;
    const uint32_t shifted = interval < 11 ? x << (11 - interval) : x >> (interval - 11);
    const int32_t fraction = (int32_t)(shifted & 0x3FF);
    const int32_t curve = (((piece[2] * fraction) >> 5) + piece[1] * 32) * fraction;
    return (int16_t)(((curve + (1 << 14)) >> 15) + piece[0]);
}
""",
    "natural_log": """\
/* TFLM's `Log32` of x > 0, modulo 2^32. */
static uint32_t natural_log(uint32_t x, uint32_t scale, const uint16_t *table)
{
    const int integer = 31 - leading_zeros(x);
    uint32_t fraction = x - (UINT32_C(1) << integer);
    fraction = integer < 16 ? fraction << (16 - integer) : fraction >> (integer - 16);
    const uint32_t piece = fraction >> 9;
    const int32_t place = (int32_t)(fraction - (piece << 9));
    const int32_t rise = table[piece + 1] - table[piece];
    const int64_t log2 = ((int64_t)integer << 16) + fraction + table[piece] + (rise * place >> 16);
    const int64_t natural = (45426 * log2 + 32768) >> 16;
    return (uint32_t)((scale * (uint64_t)natural + 32768) & 0xFFFFFFFF) >> 16;
}
""",
    "fft_rounded": """\
/* A product without its fraction, to the nearest. */
static inline int32_t fft_rounded(int32_t x)
{
    return (x + 16384) >> 15;
}
""",
    "fft_turned": """\
/* A value, divided by what `reciprocal` is one over, times a root of unity. */
static inline void fft_turned(
    const arena_int16_t *z, const int16_t *root, int32_t reciprocal, int32_t *to)
{
    const int32_t re = fft_rounded(z[0] * reciprocal);
    const int32_t im = fft_rounded(z[1] * reciprocal);
    to[0] = fft_rounded(re * root[0] - im * root[1]);
    to[1] = fft_rounded(re * root[1] + im * root[0]);
}
""",
    "fft_by_2": """\
static void fft_by_2(arena_int16_t *z, const int16_t *roots, int inner, int outer)
{
    for (int o = 0; o < outer; o++) {
        for (int j = 0; j < inner; j++) {
            arena_int16_t *a = z + 2 * (2 * o * inner + j);
            arena_int16_t *b = a + 2 * inner;
            const int32_t re = fft_rounded(a[0] * 16383);
            const int32_t im = fft_rounded(a[1] * 16383);
            int32_t t[2];
            fft_turned(b, roots + 2 * (j * outer), 16383, t);
            a[0] = (int16_t)(re + t[0]);
            a[1] = (int16_t)(im + t[1]);
            b[0] = (int16_t)(re - t[0]);
            b[1] = (int16_t)(im - t[1]);
        }
    }
}
""",
    "fft_by_3": """\
static void fft_by_3(arena_int16_t *z, const int16_t *roots, int inner, int outer)
{
    const int32_t factor = roots[2 * inner * outer + 1];
    for (int o = 0; o < outer; o++) {
        for (int j = 0; j < inner; j++) {
            arena_int16_t *a = z + 2 * (3 * o * inner + j);
            arena_int16_t *b = a + 2 * inner;
            arena_int16_t *c = b + 2 * inner;
            const int32_t re = fft_rounded(a[0] * 10922);
            const int32_t im = fft_rounded(a[1] * 10922);
            int32_t t[2];
            int32_t u[2];
            fft_turned(b, roots + 2 * (j * outer), 10922, t);
            fft_turned(c, roots + 4 * (j * outer), 10922, u);
            const int32_t both_re = t[0] + u[0];
            const int32_t both_im = t[1] + u[1];
            const int32_t middle_re = re - (both_re >> 1);
            const int32_t middle_im = im - (both_im >> 1);
            const int32_t gap_re = fft_rounded((t[0] - u[0]) * factor);
            const int32_t gap_im = fft_rounded((t[1] - u[1]) * factor);
            a[0] = (int16_t)(re + both_re);
            a[1] = (int16_t)(im + both_im);
            b[0] = (int16_t)(middle_re - gap_im);
            b[1] = (int16_t)(middle_im + gap_re);
            c[0] = (int16_t)(middle_re + gap_im);
            c[1] = (int16_t)(middle_im - gap_re);
        }
    }
}
""",
    "fft_by_4": """\
static void fft_by_4(arena_int16_t *z, const int16_t *roots, int inner, int outer)
{
    for (int o = 0; o < outer; o++) {
        for (int j = 0; j < inner; j++) {
            arena_int16_t *a = z + 2 * (4 * o * inner + j);
            const int32_t re = fft_rounded(a[0] * 8191);
            const int32_t im = fft_rounded(a[1] * 8191);
            int32_t t[3][2];
            for (int i = 1; i < 4; i++) {
                fft_turned(a + 2 * i * inner, roots + 2 * (i * j * outer), 8191, t[i - 1]);
            }
            const int32_t plus_re = re + t[1][0];
            const int32_t plus_im = im + t[1][1];
            const int32_t minus_re = re - t[1][0];
            const int32_t minus_im = im - t[1][1];
            const int32_t both_re = t[0][0] + t[2][0];
            const int32_t both_im = t[0][1] + t[2][1];
            const int32_t gap_re = t[0][0] - t[2][0];
            const int32_t gap_im = t[0][1] - t[2][1];
            a[0] = (int16_t)(plus_re + both_re);
            a[1] = (int16_t)(plus_im + both_im);
            a += 2 * inner;
            a[0] = (int16_t)(minus_re + gap_im);
            a[1] = (int16_t)(minus_im - gap_re);
            a += 2 * inner;
            a[0] = (int16_t)(plus_re - both_re);
            a[1] = (int16_t)(plus_im - both_im);
            a += 2 * inner;
            a[0] = (int16_t)(minus_re - gap_im);
            a[1] = (int16_t)(minus_im + gap_re);
        }
    }
}
""",
    "fft_by_5": """\
static void fft_by_5(arena_int16_t *z, const int16_t *roots, int inner, int outer)
{
    const int16_t *ya = roots + 2 * inner * outer;
    const int16_t *yb = roots + 4 * inner * outer;
    for (int o = 0; o < outer; o++) {
        for (int j = 0; j < inner; j++) {
            arena_int16_t *a = z + 2 * (5 * o * inner + j);
            const int32_t re = fft_rounded(a[0] * 6553);
            const int32_t im = fft_rounded(a[1] * 6553);
            int32_t t[4][2];
            for (int i = 1; i < 5; i++) {
                fft_turned(a + 2 * i * inner, roots + 2 * (i * j * outer), 6553, t[i - 1]);
            }
            int32_t s[2][2];
            int32_t d[2][2];
            for (int p = 0; p < 2; p++) {
                s[0][p] = t[0][p] + t[3][p];
                d[0][p] = t[0][p] - t[3][p];
                s[1][p] = t[1][p] + t[2][p];
                d[1][p] = t[1][p] - t[2][p];
            }
            const int32_t first[2] = {re, im};
            int32_t near[2];
            int32_t far[2];
            for (int p = 0; p < 2; p++) {
                a[p] = (int16_t)(first[p] + s[0][p] + s[1][p]);
                near[p] = first[p] + fft_rounded(s[0][p] * ya[0]) + fft_rounded(s[1][p] * yb[0]);
                far[p] = first[p] + fft_rounded(s[0][p] * yb[0]) + fft_rounded(s[1][p] * ya[0]);
            }
            const int32_t near_turn[2] = {
                fft_rounded(d[0][1] * ya[1]) + fft_rounded(d[1][1] * yb[1]),
                -fft_rounded(d[0][0] * ya[1]) - fft_rounded(d[1][0] * yb[1])};
            const int32_t far_turn[2] = {
                -fft_rounded(d[0][1] * yb[1]) + fft_rounded(d[1][1] * ya[1]),
                fft_rounded(d[0][0] * yb[1]) - fft_rounded(d[1][0] * ya[1])};
            for (int p = 0; p < 2; p++) {
                a[2 * inner + p] = (int16_t)(near[p] - near_turn[p]);
                a[4 * inner + p] = (int16_t)(far[p] + far_turn[p]);
                a[6 * inner + p] = (int16_t)(far[p] - far_turn[p]);
                a[8 * inner + p] = (int16_t)(near[p] + near_turn[p]);
            }
        }
    }
}
""",
    "fft_separated": """\
/* From the complex FFT of pairs of real values to the real FFT. */
static void fft_separated(
    const arena_int16_t *z, const int16_t *turns, arena_int16_t *out, int half)
{
    const int32_t re = fft_rounded(z[0] * 16383);
    const int32_t im = fft_rounded(z[1] * 16383);
    out[0] = (int16_t)(re + im);
    out[1] = 0;
    out[2 * half] = (int16_t)(re - im);
    out[2 * half + 1] = 0;
    for (int k = 1; k <= half / 2; k++) {
        const arena_int16_t *low = z + 2 * k;
        const arena_int16_t *high = z + 2 * (half - k);
        const int32_t low_re = fft_rounded(low[0] * 16383);
        const int32_t low_im = fft_rounded(low[1] * 16383);
        const int32_t high_re = fft_rounded(high[0] * 16383);
        const int32_t high_im = fft_rounded((int16_t)(-high[1]) * 16383);
        const int32_t gap_re = low_re - high_re;
        const int32_t gap_im = low_im - high_im;
        const int16_t *turn = turns + 2 * (k - 1);
        const int32_t odd_re = (int16_t)fft_rounded(gap_re * turn[0] - gap_im * turn[1]);
        const int32_t odd_im = (int16_t)fft_rounded(gap_re * turn[1] + gap_im * turn[0]);
        out[2 * k] = (int16_t)((low_re + high_re + odd_re) >> 1);
        out[2 * k + 1] = (int16_t)((low_im + high_im + odd_im) >> 1);
        out[2 * (half - k)] = (int16_t)((low_re + high_re - odd_re) >> 1);
        out[2 * (half - k) + 1] = (int16_t)((odd_im - low_im - high_im) >> 1);
    }
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
