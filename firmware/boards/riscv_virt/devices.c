/* QEMU's `virt` board: a 16550 UART, the CLINT's clock, semihosting.
 * Sources: QEMU, `hw/riscv/virt.c` (memory map); RISC-V Semihosting, version 0.4. */
#include "board.h"
#include "memory.h"

#define UART ((volatile uint8_t *)0x10000000u)
#define MTIME (*(volatile uint32_t *)0x0200BFF8u)
enum { DATA = 0, LINE_STATUS = 5, DATA_READY = 0x01, TRANSMIT_EMPTY = 0x20 };

int main(void);
__attribute__((noreturn, used)) void start(void);
__attribute__((noreturn, used, aligned(4))) void fault(void);

const uint32_t board_ticks_per_second = 10000000u;

void start(void)
{
    memory_start(stack_pointer());
    board_exit(main());
}

void fault(void)
{
    uint32_t cause;
    __asm__ volatile(".option push\n .option arch, +zicsr\n csrr %0, mcause\n .option pop"
                     : "=r"(cause));
    board_debug("fault: mcause ");
    board_debug_number(cause);
    board_debug("\n");
    board_exit(70);
}

void board_start(void)
{
}

void board_write(uint8_t byte)
{
    while (!(UART[LINE_STATUS] & TRANSMIT_EMPTY)) {
    }
    UART[DATA] = byte;
}

uint8_t board_read(void)
{
    while (!(UART[LINE_STATUS] & DATA_READY)) {
    }
    return UART[DATA];
}

uint32_t board_ticks(void)
{
    return MTIME;
}

static int call(int operation, const void *argument)
{
    register int a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;
    __asm__ volatile(".option push\n"
                     ".option norvc\n"
                     ".balign 16\n" /* the three must lie in one page */
                     "slli zero, zero, 0x1f\n"
                     "ebreak\n"
                     "srai zero, zero, 7\n"
                     ".option pop\n"
                     : "+r"(a0) : "r"(a1) : "memory");
    return a0;
}

void board_debug(const char *text)
{
    call(0x04, text);
}

void board_exit(int status)
{
    const uint32_t reason_and_status[2] = {0x20026u, (uint32_t)status};
    for (;;) {
        call(0x20, reason_and_status);
    }
}
