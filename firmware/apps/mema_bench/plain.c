/* Three loops; the compiler does what it can. */
#include "bench.h"
#include "mema.h"

void plain_s8(const struct bench_product *p, const int8_t *input, int8_t *output)
{
    for (uint32_t row = 0; row < p->rows; row++) {
        for (uint32_t channel = 0; channel < p->channels; channel++) {
            const int8_t *x = input + row * p->depth;
            const int8_t *w = p->filter + channel * p->depth;
            int32_t sum = p->bias[channel];
            for (uint32_t k = 0; k < p->depth; k++) {
                sum += x[k] * w[k];
            }
            sum = mema_scale(sum, p->multiplier[channel], p->shift[channel]);
            *output++ = (int8_t)mema_clamp(sum + p->output_offset, INT8_MIN, INT8_MAX);
        }
    }
}

void plain_s16(const struct bench_product *p, const int16_t *input, int16_t *output)
{
    for (uint32_t row = 0; row < p->rows; row++) {
        for (uint32_t channel = 0; channel < p->channels; channel++) {
            const int16_t *x = input + row * p->depth;
            const int8_t *w = p->filter + channel * p->depth;
            int32_t sum = p->bias[channel];
            for (uint32_t k = 0; k < p->depth; k++) {
                sum += x[k] * w[k];
            }
            sum = mema_scale(sum, p->multiplier[channel], p->shift[channel]);
            *output++ = (int16_t)mema_clamp(sum + p->output_offset, INT16_MIN, INT16_MAX);
        }
    }
}
