/* Arm DAI 0385, 0386 and 0500 (MPS2 FPGA images): the same devices at the same addresses. */
#define UART_BASE 0x40004000u
#define TICKS_ADDRESS 0x40028018u /* FPGAIO COUNTER */
#define TICKS_PER_SECOND 25000000u
