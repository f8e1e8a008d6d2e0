/* The CMSDK UART, polled, and the FPGAIO counter.
 * Source: Arm DDI 0479, CMSDK APB UART. */
#include "addresses.h"
#include "board.h"

struct uart {
    volatile uint32_t data, state, control, interrupt, divider;
};

#define UART ((struct uart *)UART_BASE)
enum { TRANSMIT_FULL = 1, RECEIVE_FULL = 2, TRANSMIT_ENABLE = 1, RECEIVE_ENABLE = 2 };

const uint32_t board_ticks_per_second = TICKS_PER_SECOND;

void board_start(void)
{
    UART->divider = TICKS_PER_SECOND / 115200u;
    UART->control = TRANSMIT_ENABLE | RECEIVE_ENABLE;
    (void)UART->data; /* what came before; QEMU also looks for input again only now */
}

void board_write(uint8_t byte)
{
    while (UART->state & TRANSMIT_FULL) {
    }
    UART->data = byte;
}

uint8_t board_read(void)
{
    while (!(UART->state & RECEIVE_FULL)) {
    }
    return (uint8_t)UART->data;
}

uint32_t board_ticks(void)
{
    return *(volatile uint32_t *)TICKS_ADDRESS;
}
