/* Two channels and two rows at a time with SMLAD, the filter as the model has it: each word of four
 * filter values and of inputs is used twice. Edges are computed one output at a time. */
#include "bench.h"
#include "mema.h"

static inline uint32_t even_bytes(uint32_t word)
{
    uint32_t halves;
    __asm__("sxtb16 %0, %1" : "=r"(halves) : "r"(word));
    return halves;
}

static inline uint32_t odd_bytes(uint32_t word)
{
    uint32_t halves;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(word));
    return halves;
}

static inline uint32_t lower_halves(uint32_t even, uint32_t odd)
{
    uint32_t halves;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(halves) : "r"(even), "r"(odd));
    return halves;
}

static inline uint32_t upper_halves(uint32_t odd, uint32_t even)
{
    uint32_t halves;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(halves) : "r"(odd), "r"(even));
    return halves;
}

static inline int32_t multiply_add(uint32_t a, uint32_t b, int32_t sum)
{
    __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

static int32_t scaled(const struct bench_product *p, uint32_t channel, int32_t sum)
{
    return mema_scale(sum, p->multiplier[channel], p->shift[channel]) + p->output_offset;
}

static void one_s8(const struct bench_product *p, const int8_t *input, int8_t *output,
                   uint32_t channel, uint32_t row)
{
    const int8_t *x = input + row * p->depth;
    const int8_t *w = p->filter + channel * p->depth;
    int32_t sum = p->bias[channel];
    for (uint32_t k = 0; k < p->depth; k++) {
        sum += x[k] * w[k];
    }
    output[row * p->channels + channel] =
        (int8_t)mema_clamp(scaled(p, channel, sum), INT8_MIN, INT8_MAX);
}

__attribute__((noinline))
static void four_s8(const struct bench_product *p, const int8_t *input, int8_t *output,
                    uint32_t channel, uint32_t row)
{
    const int8_t *x0 = input + row * p->depth, *x1 = x0 + p->depth;
    const int8_t *w0 = p->filter + channel * p->depth, *w1 = w0 + p->depth;
    int32_t s00 = p->bias[channel], s01 = s00, s10 = p->bias[channel + 1], s11 = s10;
    const int8_t *const end = x0 + (p->depth & ~3u);
    while (x0 < end) {
        const uint32_t a0 = mema_load(x0), a1 = mema_load(x1);
        const uint32_t a0_even = even_bytes(a0), a0_odd = odd_bytes(a0);
        const uint32_t a1_even = even_bytes(a1), a1_odd = odd_bytes(a1);
        const uint32_t b0 = mema_load(w0), b1 = mema_load(w1);
        s00 = multiply_add(a0_even, even_bytes(b0), s00);
        s01 = multiply_add(a1_even, even_bytes(b0), s01);
        s00 = multiply_add(a0_odd, odd_bytes(b0), s00);
        s01 = multiply_add(a1_odd, odd_bytes(b0), s01);
        s10 = multiply_add(a0_even, even_bytes(b1), s10);
        s11 = multiply_add(a1_even, even_bytes(b1), s11);
        s10 = multiply_add(a0_odd, odd_bytes(b1), s10);
        s11 = multiply_add(a1_odd, odd_bytes(b1), s11);
        x0 += 4;
        x1 += 4;
        w0 += 4;
        w1 += 4;
    }
    for (uint32_t k = p->depth & 3u; k > 0; k--) {
        s00 += *x0 * *w0;
        s01 += *x1 * *w0++;
        s10 += *x0++ * *w1;
        s11 += *x1++ * *w1++;
    }
    int8_t *out = output + row * p->channels + channel;
    out[0] = (int8_t)mema_clamp(scaled(p, channel, s00), INT8_MIN, INT8_MAX);
    out[1] = (int8_t)mema_clamp(scaled(p, channel + 1, s10), INT8_MIN, INT8_MAX);
    out += p->channels;
    out[0] = (int8_t)mema_clamp(scaled(p, channel, s01), INT8_MIN, INT8_MAX);
    out[1] = (int8_t)mema_clamp(scaled(p, channel + 1, s11), INT8_MIN, INT8_MAX);
}

void two_by_two_s8(const struct bench_product *p, const int8_t *input, int8_t *output)
{
    const uint32_t rows = p->rows & ~1u, channels = p->channels & ~1u;
    for (uint32_t row = 0; row < rows; row += 2) {
        for (uint32_t channel = 0; channel < channels; channel += 2) {
            four_s8(p, input, output, channel, row);
        }
    }
    for (uint32_t row = 0; row < p->rows; row++) {
        for (uint32_t channel = row < rows ? channels : 0; channel < p->channels; channel++) {
            one_s8(p, input, output, channel, row);
        }
    }
}

static void one_s16(const struct bench_product *p, const int16_t *input, int16_t *output,
                    uint32_t channel, uint32_t row)
{
    const int16_t *x = input + row * p->depth;
    const int8_t *w = p->filter + channel * p->depth;
    int32_t sum = p->bias[channel];
    for (uint32_t k = 0; k < p->depth; k++) {
        sum += x[k] * w[k];
    }
    output[row * p->channels + channel] =
        (int16_t)mema_clamp(scaled(p, channel, sum), INT16_MIN, INT16_MAX);
}

__attribute__((noinline))
static void four_s16(const struct bench_product *p, const int16_t *input, int16_t *output,
                     uint32_t channel, uint32_t row)
{
    const int16_t *x0 = input + row * p->depth, *x1 = x0 + p->depth;
    const int8_t *w0 = p->filter + channel * p->depth, *w1 = w0 + p->depth;
    int32_t s00 = p->bias[channel], s01 = s00, s10 = p->bias[channel + 1], s11 = s10;
    const int16_t *const end = x0 + (p->depth & ~3u);
    while (x0 < end) {
        const uint32_t b0 = mema_load(w0), b1 = mema_load(w1);
        const uint32_t first0 = lower_halves(even_bytes(b0), odd_bytes(b0));
        const uint32_t first1 = lower_halves(even_bytes(b1), odd_bytes(b1));
        const uint32_t a0 = mema_load(x0), a1 = mema_load(x1);
        s00 = multiply_add(a0, first0, s00);
        s01 = multiply_add(a1, first0, s01);
        s10 = multiply_add(a0, first1, s10);
        s11 = multiply_add(a1, first1, s11);
        const uint32_t second0 = upper_halves(odd_bytes(b0), even_bytes(b0));
        const uint32_t second1 = upper_halves(odd_bytes(b1), even_bytes(b1));
        const uint32_t c0 = mema_load(x0 + 2), c1 = mema_load(x1 + 2);
        s00 = multiply_add(c0, second0, s00);
        s01 = multiply_add(c1, second0, s01);
        s10 = multiply_add(c0, second1, s10);
        s11 = multiply_add(c1, second1, s11);
        x0 += 4;
        x1 += 4;
        w0 += 4;
        w1 += 4;
    }
    for (uint32_t k = p->depth & 3u; k > 0; k--) {
        s00 += *x0 * *w0;
        s01 += *x1 * *w0++;
        s10 += *x0++ * *w1;
        s11 += *x1++ * *w1++;
    }
    int16_t *out = output + row * p->channels + channel;
    out[0] = (int16_t)mema_clamp(scaled(p, channel, s00), INT16_MIN, INT16_MAX);
    out[1] = (int16_t)mema_clamp(scaled(p, channel + 1, s10), INT16_MIN, INT16_MAX);
    out += p->channels;
    out[0] = (int16_t)mema_clamp(scaled(p, channel, s01), INT16_MIN, INT16_MAX);
    out[1] = (int16_t)mema_clamp(scaled(p, channel + 1, s11), INT16_MIN, INT16_MAX);
}

void two_by_two_s16(const struct bench_product *p, const int16_t *input, int16_t *output)
{
    const uint32_t rows = p->rows & ~1u, channels = p->channels & ~1u;
    for (uint32_t row = 0; row < rows; row += 2) {
        for (uint32_t channel = 0; channel < channels; channel += 2) {
            four_s16(p, input, output, channel, row);
        }
    }
    for (uint32_t row = 0; row < p->rows; row++) {
        for (uint32_t channel = row < rows ? channels : 0; channel < p->channels; channel++) {
            one_s16(p, input, output, channel, row);
        }
    }
}
