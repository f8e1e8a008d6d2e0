/* What a board gives to the programs in `apps/`: bytes in and out, a clock, a way to end.
 *
 * Each folder under `boards/` implements this. A real board needs the same six functions; one that
 * has no debugger ignores `board_debug` and loops in `board_exit`.
 */
#ifndef REFMICRO_BOARD_H
#define REFMICRO_BOARD_H

#include <stddef.h>
#include <stdint.h>

/* Makes the serial line ready; 115200 baud, 8 bits, no parity, 1 stop bit where that matters. */
void board_start(void);

/* Sends one byte, waiting until the line takes it. */
void board_write(uint8_t byte);

/* The next byte received, waiting for it. */
uint8_t board_read(void);

/* A counter that rises by board_ticks_per_second each second and wraps at 32 bits. */
uint32_t board_ticks(void);
extern const uint32_t board_ticks_per_second;

/* Text for the debugger or the emulator's console, beside the serial line. */
void board_debug(const char *text);
void board_debug_number(uint32_t number);

/* Ends the program with a status that the emulator returns as its own. */
void board_exit(int status) __attribute__((noreturn));

/* The largest number of stack bytes used since the start (the stack is painted by the startup
 * code), and the number there are. Equal numbers mean that the stack may have overflowed; 0 that
 * the board does not measure. */
size_t board_stack_used_bytes(void);
size_t board_stack_bytes(void);

/* Calls a function and returns how many bytes of stack it used, 0 where that is not measured. */
size_t board_stack_of(void (*call)(void));

/* Bytes of .data and .bss: all RAM but the stack. */
size_t board_static_ram_bytes(void);

#endif
