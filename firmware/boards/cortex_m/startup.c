/* Start of a Cortex-M: vectors, floating-point unit, memory, main. */
#include "board.h"
#include "memory.h"

int main(void);

#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define CCR (*(volatile uint32_t *)0xE000ED14u)
#define VTOR (*(volatile uint32_t *)0xE000ED08u)

#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
#define HAS_COPROCESSOR 1
#else
#define HAS_COPROCESSOR 0
#endif

__attribute__((noreturn)) void reset(void);
void fault(void);
void fault_told(uint32_t number);

extern void (*const vectors[16])(void);
__attribute__((section(".start"), used)) void (*const vectors[16])(void) = {
    (void (*)(void))__stack_top, reset, fault, fault, fault, fault, fault, fault,
    fault, fault, fault, fault, fault, fault, fault, fault,
};

void reset(void)
{
    if (HAS_COPROCESSOR) {
        CPACR |= 0xFu << 20; /* full access to CP10 and CP11 */
        __asm__ volatile("dsb\n isb" ::: "memory");
    }
    VTOR = (uint32_t)(uintptr_t)vectors;
    memory_start(stack_pointer());
#if __ARM_ARCH >= 8 && defined(__ARM_FEATURE_MVE)
    CCR |= 1u << 19; /* low-overhead loops */
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    board_exit(main());
}

/* The stack may be what failed: the handler begins a new one. */
__attribute__((naked)) void fault(void)
{
    __asm__ volatile("mrs r0, ipsr\n"
                     "ldr r1, =__stack_top\n"
                     "mov sp, r1\n"
                     "b fault_told\n");
}

__attribute__((noreturn, used)) void fault_told(uint32_t number)
{
    board_debug("fault: exception ");
    board_debug_number(number);
    board_debug("\n");
    board_exit(70);
}
