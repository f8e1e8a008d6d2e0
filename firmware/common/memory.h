/* The places that every linker script here defines. */
#ifndef REFMICRO_MEMORY_H
#define REFMICRO_MEMORY_H

#include <stdint.h>

extern uint32_t __stack_limit[], __stack_top[];
extern uint32_t __data_load[], __data_start[], __data_end[];
extern uint32_t __bss_start[], __bss_end[];

#define STACK_PAINT UINT32_C(0x5AFE57AC)

static inline __attribute__((always_inline)) uint32_t *stack_pointer(void)
{
    uint32_t *sp;
#if defined(__riscv)
    __asm__ volatile("mv %0, sp" : "=r"(sp));
#else
    __asm__ volatile("mov %0, sp" : "=r"(sp));
#endif
    return sp;
}

/* Paints the stack up to `sp`, fills .data and clears .bss. The stores are volatile so that no
 * compiler turns a loop into a call that would use the stack being painted. */
static inline __attribute__((always_inline)) void memory_start(uint32_t *sp)
{
    for (volatile uint32_t *to = __stack_limit; to < sp; to++) {
        *to = STACK_PAINT;
    }
    const uint32_t *from = __data_load;
    for (volatile uint32_t *to = __data_start; to < __data_end; to++) {
        *to = *from++;
    }
    for (volatile uint32_t *to = __bss_start; to < __bss_end; to++) {
        *to = 0;
    }
}

#endif
