/* A model with a state, written by hand with the interface of an emitted one: the output is the
 * input plus a running sum of all inputs, modulo 256. */
#ifndef FAKE_MODEL_H
#define FAKE_MODEL_H
#include <stdint.h>
#define FAKE_VALUES 200
void fake_reset(void);
void fake_invoke(void);
int8_t *fake_input(unsigned index);
int8_t *fake_output(unsigned index);
#endif
