/* How much RAM the program takes, from the linker's symbols and the painted stack. */
#include "memory.h"

#include "board.h"

size_t board_stack_bytes(void)
{
    return (size_t)((uintptr_t)__stack_top - (uintptr_t)__stack_limit);
}

static size_t most_used_bytes; /* before the stack was painted last */

static size_t used_bytes(void)
{
    const volatile uint32_t *word = __stack_limit;
    while (word < __stack_top && *word == STACK_PAINT) {
        word++;
    }
    return (size_t)((uintptr_t)__stack_top - (uintptr_t)word);
}

size_t board_stack_used_bytes(void)
{
    size_t used = used_bytes();
    return used > most_used_bytes ? used : most_used_bytes;
}

size_t board_stack_of(void (*call)(void))
{
    uint32_t *sp = stack_pointer();
    most_used_bytes = board_stack_used_bytes();
    for (volatile uint32_t *word = __stack_limit; word < sp; word++) {
        *word = STACK_PAINT;
    }
    call();
    return used_bytes() - (size_t)((uintptr_t)__stack_top - (uintptr_t)sp);
}

size_t board_static_ram_bytes(void)
{
    return (size_t)((uintptr_t)__data_end - (uintptr_t)__data_start)
         + (size_t)((uintptr_t)__bss_end - (uintptr_t)__bss_start);
}

void board_debug_number(uint32_t number)
{
    char text[11];
    char *digit = text + sizeof text - 1;
    *digit = 0;
    do {
        *--digit = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    board_debug(digit);
}
