/* A model with a state, written by hand with the interface of an emitted one: the output is the
 * input plus a running sum of all inputs so far, modulo 256. */
#ifndef FAKE_H
#define FAKE_H

#define FAKE_INPUTS 2u
#define FAKE_OUTPUTS 1u

void fake_reset(void);
void fake_invoke(void);
void *fake_input(unsigned index);
void *fake_output(unsigned index);
unsigned fake_input_bytes(unsigned index);
unsigned fake_output_bytes(unsigned index);

#endif
