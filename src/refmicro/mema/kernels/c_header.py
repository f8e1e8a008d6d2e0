"""`mema.h`: the struct of weights, loads and stores of words, and TFLM's rounding in C99."""

from __future__ import annotations

HEADER = """\
/* What refmicro's matrix kernels share. Little-endian machines, C99. */
#ifndef MEMA_H
#define MEMA_H

#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "these kernels pack and read words of little-endian machines"
#endif

#if defined(__GNUC__)
/* A call would cost more than the work, for small code too. */
#define MEMA_INLINE static inline __attribute__((always_inline))
/* What was loaded or stored here is neither split, joined, moved out of a loop nor done again: a
 * compiler has to take the accesses as they are written. */
#define MEMA_KEEP(value) __asm__ volatile("" : "+r"(value) : : "memory")
#define MEMA_STORED() __asm__ volatile("" : : : "memory")
/* A value stays in one register: sums are added to in order, a held word is not unpacked ahead. */
#define MEMA_HOLD(value) __asm__("" : "+r"(value))
/* A copy of four bytes is one load or store; a freestanding compiler has no <string.h>. */
#define MEMA_COPY __builtin_memcpy
#define MEMA_ALIGNED(pointer) __builtin_assume_aligned((pointer), 4)
#else
#include <string.h>
#define MEMA_INLINE static inline
#define MEMA_KEEP(value) ((void)0)
#define MEMA_STORED() ((void)0)
#define MEMA_HOLD(value) ((void)0)
#define MEMA_COPY memcpy
#define MEMA_ALIGNED(pointer) (pointer)
#endif

/* Constants of one operator, as the kernel's generator packed them. */
struct mema_weights {
    const int8_t *filter;
    const int32_t *bias;
    const int32_t *multiplier;
    const int8_t *shift;
};

/* One word from any address. */
MEMA_INLINE uint32_t mema_load(const void *from)
{
    uint32_t word;
    MEMA_COPY(&word, from, sizeof word);
    MEMA_KEEP(word);
    return word;
}

/* One word from a multiple of four. */
MEMA_INLINE uint32_t mema_load_aligned(const void *from)
{
    uint32_t word;
    MEMA_COPY(&word, MEMA_ALIGNED(from), sizeof word);
    MEMA_KEEP(word);
    return word;
}

/* One value. */
MEMA_INLINE int32_t mema_load_int8(const int8_t *from)
{
    int32_t value = *from;
    MEMA_KEEP(value);
    return value;
}

MEMA_INLINE int32_t mema_load_int16(const int16_t *from)
{
    int32_t value = *from;
    MEMA_KEEP(value);
    return value;
}

MEMA_INLINE int32_t mema_load_int32(const int32_t *from)
{
    int32_t value = *from;
    MEMA_KEEP(value);
    return value;
}

/* One word to any address. */
MEMA_INLINE void mema_store(void *to, uint32_t word)
{
    MEMA_COPY(to, &word, sizeof word);
    MEMA_STORED();
}

/* One word to a multiple of four. */
MEMA_INLINE void mema_store_aligned(void *to, uint32_t word)
{
    MEMA_COPY(MEMA_ALIGNED(to), &word, sizeof word);
    MEMA_STORED();
}

/* One value. */
MEMA_INLINE void mema_store_int8(int8_t *to, int32_t value)
{
    *to = (int8_t)value;
    MEMA_STORED();
}

MEMA_INLINE void mema_store_int16(int16_t *to, int32_t value)
{
    *to = (int16_t)value;
    MEMA_STORED();
}

/* Signed byte i of a word, 0 the lowest. */
MEMA_INLINE int32_t mema_byte(uint32_t word, unsigned i)
{
    return (int8_t)(word >> (8u * i));
}

/* Signed half i of a word, 0 the lower. */
MEMA_INLINE int32_t mema_half(uint32_t word, unsigned i)
{
    return (int16_t)(word >> (16u * i));
}

/* Sums are unsigned, so that they wrap where TFLM's do. */
MEMA_INLINE uint32_t mema_add(uint32_t sum, int32_t product)
{
    sum += (uint32_t)product;
    MEMA_HOLD(sum);
    return sum;
}

/* The same for sums of 64 bits; no product of an int8 and an int16 value leaves 32. */
MEMA_INLINE int64_t mema_add_wide(int64_t sum, int32_t product)
{
    sum += product;
    MEMA_HOLD(sum);
    return sum;
}

/* sum plus four products of int8 values. */
MEMA_INLINE uint32_t mema_dot_s8(uint32_t sum, uint32_t f, uint32_t x)
{
    sum = mema_add(sum, mema_byte(f, 0) * mema_byte(x, 0));
    sum = mema_add(sum, mema_byte(f, 1) * mema_byte(x, 1));
    sum = mema_add(sum, mema_byte(f, 2) * mema_byte(x, 2));
    return mema_add(sum, mema_byte(f, 3) * mema_byte(x, 3));
}

/* sum plus two products of int16 inputs and the int8 filter values from byte i on. */
MEMA_INLINE uint32_t mema_dot_s16(uint32_t sum, uint32_t f, unsigned i, uint32_t x)
{
    sum = mema_add(sum, mema_byte(f, i) * mema_half(x, 0));
    return mema_add(sum, mema_byte(f, i + 1) * mema_half(x, 1));
}

MEMA_INLINE int64_t mema_dot_s16_wide(int64_t sum, uint32_t f, unsigned i, uint32_t x)
{
    sum = mema_add_wide(sum, mema_byte(f, i) * mema_half(x, 0));
    return mema_add_wide(sum, mema_byte(f, i + 1) * mema_half(x, 1));
}

/* A bias of two words. */
MEMA_INLINE int64_t mema_bias_wide(const int32_t *bias)
{
    const uint32_t low = (uint32_t)mema_load_int32(bias);
    const uint32_t high = (uint32_t)mema_load_int32(bias + 1);
    return (int64_t)(low | (uint64_t)high << 32);
}

/* x * multiplier * 2^(shift - 31), shift at most 0: the high product is rounded half up, the
 * division half away from zero. */
static inline int32_t mema_scale_right(int32_t x, int32_t multiplier, int shift)
{
    const uint64_t product = (uint64_t)((int64_t)x * multiplier) + (1u << 30);
    /* Bits 31 to 62, from two words: a shift of both would take a pair of registers. */
    const int32_t high = (int32_t)((uint32_t)(product >> 32) << 1 | (uint32_t)product >> 31);
    const int32_t mask = (int32_t)((1u << -shift) - 1u);
    const int32_t threshold = (mask >> 1) + (high < 0 ? 1 : 0);
    return (high >> -shift) + ((high & mask) > threshold ? 1 : 0);
}

/* The same with any shift; a left shift wraps, as in TFLM's builds. */
static inline int32_t mema_scale(int32_t x, int32_t multiplier, int shift)
{
    if (shift > 0) {
        x = (int32_t)((uint32_t)x << shift);
        shift = 0;
    }
    return mema_scale_right(x, multiplier, shift);
}

/* The rule of 64-bit sums: a 16-bit multiplier and one rounding; shift is 15 - TFLM's. */
static inline int32_t mema_scale_wide(int64_t x, int32_t multiplier, int shift)
{
    return (int32_t)((x * multiplier + (INT64_C(1) << (shift - 1))) >> shift);
}

#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>

#if defined(__GNUC__)
#define MEMA_KEEP_VECTOR(value) __asm__ volatile("" : "+w"(value) : : "memory")
#else
#define MEMA_KEEP_VECTOR(value) ((void)0)
#endif

/* A vector, or its first `count` values and zeros; memory behind them is not touched. */
MEMA_INLINE int8x16_t mema_vector_s8(const int8_t *from)
{
    int8x16_t vector = vldrbq_s8(from);
    MEMA_KEEP_VECTOR(vector);
    return vector;
}

MEMA_INLINE int8x16_t mema_vector_s8_part(const int8_t *from, uint32_t count)
{
    int8x16_t vector = vldrbq_z_s8(from, vctp8q(count));
    MEMA_KEEP_VECTOR(vector);
    return vector;
}

MEMA_INLINE int16x8_t mema_vector_s16(const int16_t *from)
{
    int16x8_t vector = vldrhq_s16(from);
    MEMA_KEEP_VECTOR(vector);
    return vector;
}

MEMA_INLINE int16x8_t mema_vector_s16_part(const int16_t *from, uint32_t count)
{
    int16x8_t vector = vldrhq_z_s16(from, vctp16q(count));
    MEMA_KEEP_VECTOR(vector);
    return vector;
}

/* Eight bytes, each widened to a half. */
MEMA_INLINE int16x8_t mema_vector_widened(const int8_t *from)
{
    int16x8_t vector = vldrbq_s16(from);
    MEMA_KEEP_VECTOR(vector);
    return vector;
}

MEMA_INLINE int16x8_t mema_vector_widened_part(const int8_t *from, uint32_t count)
{
    int16x8_t vector = vldrbq_z_s16(from, vctp16q(count));
    MEMA_KEEP_VECTOR(vector);
    return vector;
}

/* mema_scale of four sums of one channel. */
static inline int32x4_t mema_scale_vector(int32x4_t x, int32_t multiplier, int shift)
{
    const int left = shift > 0 ? shift : 0, right = shift > 0 ? 0 : shift;
    x = vqrdmulhq_n_s32(vshlq_r_s32(x, left), multiplier);
    x = vqaddq_s32(x, vshrq_n_s32(vandq_s32(x, vdupq_n_s32(right)), 31));
    return vrshlq_n_s32(x, right);
}

/* The same of four channels. */
static inline int32x4_t mema_scale_vectors(
    int32x4_t x, int32x4_t multiplier, int32x4_t shift)
{
    const int32x4_t zero = vdupq_n_s32(0), right = vminq_s32(shift, zero);
    x = vqrdmulhq_s32(vshlq_s32(x, vmaxq_s32(shift, zero)), multiplier);
    x = vqaddq_s32(x, vshrq_n_s32(vandq_s32(x, right), 31));
    return vrshlq_s32(x, right);
}

static inline int32x4_t mema_clamp_vector(int32x4_t x, int32_t low, int32_t high, int32_t offset)
{
    x = vminq_s32(vmaxq_s32(x, vdupq_n_s32(low)), vdupq_n_s32(high));
    return vaddq_n_s32(x, offset);
}
#endif

static inline int32_t mema_clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : x;
}

#endif
"""
