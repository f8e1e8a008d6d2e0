/* Runs a model for a host: takes inputs, invokes, gives back bytes and a CRC. It judges nothing. */
#ifndef REFMICRO_RUNNER_H
#define REFMICRO_RUNNER_H

#include "link.h"

struct runner_array {
    uint8_t *bytes;
    size_t size;
};

struct runner_model {
    const char *name;    /* for people */
    const char *digest;  /* which model this is: the host compares it with its own */
    uint32_t input_count, output_count;
    struct runner_array (*input)(uint32_t index);
    struct runner_array (*output)(uint32_t index);
    void (*reset)(void);
    int (*invoke)(void); /* 0 if it succeeded */
};

struct runner {
    struct link link;
    const struct runner_model *model;
    uint32_t load_bytes, loaded_bytes;
    size_t invoke_stack_bytes;
};

void runner_start(struct runner *runner, const struct runner_model *model,
                  void (*write)(uint8_t byte));

/* Takes one received byte and, when a command is whole, does it and answers. Returns 1 when the
 * command was `exit`. */
int runner_receive(struct runner *runner, uint8_t byte);

#endif
