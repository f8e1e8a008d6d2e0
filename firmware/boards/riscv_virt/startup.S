# Start of a 32-bit RISC-V in machine mode.
    .section .start, "ax", @progbits
    .globl reset
    .type reset, @function
reset:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la sp, __stack_top
    la t0, fault
    .option push
    .option arch, +zicsr
    csrw mtvec, t0
    .option pop
    j start
    .size reset, . - reset
