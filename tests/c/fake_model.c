#include "fake_model.h"

#include <string.h>

static int8_t fake_arena[2 * FAKE_VALUES];
static uint8_t fake_sum;

void fake_reset(void)
{
    fake_sum = 0;
}

int8_t *fake_input(unsigned index)
{
    return index == 0 ? fake_arena : fake_arena + FAKE_VALUES / 2;
}

int8_t *fake_output(unsigned index)
{
    (void)index;
    return fake_arena + FAKE_VALUES;
}

static void __attribute__((noinline)) fake_operator_0(void)
{
    for (int i = 0; i < FAKE_VALUES; i++) {
        fake_sum = (uint8_t)(fake_sum + (uint8_t)fake_arena[i]);
    }
}

static void __attribute__((noinline)) fake_operator_1(void)
{
    volatile uint8_t deep[256]; /* so that the stack's high-water mark has something to show */
    memset((void *)deep, fake_sum, sizeof deep);
    for (int i = 0; i < FAKE_VALUES; i++) {
        fake_arena[FAKE_VALUES + i] = (int8_t)((uint8_t)fake_arena[i] + deep[i]);
    }
}

void fake_invoke(void)
{
    fake_operator_0();
    fake_operator_1();
}
