#include "fake.h"

#include <stdint.h>
#include <string.h>

#ifndef FAKE_OPERATOR
#define FAKE_OPERATOR(number) ((void)0)
#endif

enum { VALUES = 200 };

static uint8_t arena[2 * VALUES];
static uint8_t sum;

void fake_reset(void)
{
    sum = 0;
}

void *fake_input(unsigned index)
{
    return index == 0 ? arena : arena + VALUES / 2;
}

unsigned fake_input_bytes(unsigned index)
{
    return index < FAKE_INPUTS ? VALUES / 2 : 0;
}

void *fake_output(unsigned index)
{
    return index == 0 ? arena + VALUES : 0;
}

unsigned fake_output_bytes(unsigned index)
{
    return index < FAKE_OUTPUTS ? VALUES : 0;
}

static void add_up(void)
{
    for (int i = 0; i < VALUES; i++) {
        sum = (uint8_t)(sum + arena[i]);
    }
}

static void spread(void)
{
    volatile uint8_t deep[256]; /* so that the stack's high-water mark has something to show */
    memset((void *)deep, sum, sizeof deep);
    for (int i = 0; i < VALUES; i++) {
        arena[VALUES + i] = (uint8_t)(arena[i] + deep[i]);
    }
}

void fake_invoke(void)
{
    FAKE_OPERATOR(0);
    add_up();
    FAKE_OPERATOR(1);
    spread();
}
