/* Runs an emitted model on this machine for the proof: commands come on the standard input, outputs
   go to the standard output. Compiled with -DMODEL=name -DHEADER="name.h" beside the model's file.

   'r' resets the model; 'i', followed by the bytes of all inputs, invokes it and writes the bytes of
   all outputs. */

#include <stdio.h>

#include HEADER

#define JOINED(a, b) a##_##b
#define JOIN(a, b) JOINED(a, b)
#define CALL(name) JOIN(MODEL, name)

static int read_inputs(void)
{
    for (unsigned i = 0; CALL(input)(i) != 0; i++) {
        const unsigned size = CALL(input_bytes)(i);
        if (fread(CALL(input)(i), 1, size, stdin) != size) {
            return 0;
        }
    }
    return 1;
}

static int write_outputs(void)
{
    for (unsigned i = 0; CALL(output)(i) != 0; i++) {
        const unsigned size = CALL(output_bytes)(i);
        if (fwrite(CALL(output)(i), 1, size, stdout) != size) {
            return 0;
        }
    }
    return 1;
}

int main(void)
{
    int command = getchar();
    for (; command != EOF; command = getchar()) {
        if (command == 'r') {
            CALL(reset)();
        } else if (command == 'i') {
            if (!read_inputs()) {
                return 2;
            }
            CALL(invoke)();
            if (!write_outputs()) {
                return 3;
            }
        } else {
            return 4;
        }
    }
    return 0;
}
