/* board.h for a process on the host: the serial line is standard input and output. */
#include <stdlib.h>
#include <unistd.h>

#include "board.h"

const uint32_t board_ticks_per_second = 1000000u;

void board_start(void)
{
}

void board_write(uint8_t byte)
{
    if (write(1, &byte, 1) != 1) {
        exit(1);
    }
}

uint8_t board_read(void)
{
    uint8_t byte = 0;
    if (read(0, &byte, 1) != 1) { /* the other side has gone */
        exit(0);
    }
    return byte;
}

uint32_t board_ticks(void)
{
    static uint32_t ticks;
    return ticks += 250; /* so that each invocation seems to take a known time */
}

size_t board_stack_used_bytes(void)
{
    return 0;
}

size_t board_stack_bytes(void)
{
    return 0;
}

size_t board_stack_of(void (*call)(void))
{
    call();
    return 0;
}

size_t board_static_ram_bytes(void)
{
    return 4711;
}
