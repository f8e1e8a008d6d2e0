/* The verbs of the line protocol. Those of MLPerf Tiny keep its words; docs/board-protocol.md lists
 * the differences. Source of the verbs: mlcommons/tiny, `benchmark/api/internally_implemented.cpp`. */
#include "runner.h"

#include <string.h>

#include "board.h"

#define VERSION "refmicro runner 1"
#define BYTES_PER_LINE ((size_t)64)

static void line(struct runner *runner, const char *text)
{
    link_begin(&runner->link);
    link_text(&runner->link, text);
    link_end(&runner->link);
}

static void bracketed(struct runner *runner, const char *key, const char *text)
{
    link_begin(&runner->link);
    link_text(&runner->link, key);
    link_text(&runner->link, "-[");
    link_text(&runner->link, text);
    link_text(&runner->link, "]");
    link_end(&runner->link);
}

static void sized(struct runner *runner, const char *before, size_t number, const char *after)
{
    link_begin(&runner->link);
    link_text(&runner->link, before);
    link_number(&runner->link, (uint32_t)number);
    link_text(&runner->link, after);
    link_end(&runner->link);
}

static void numbered(struct runner *runner, const char *key, size_t number)
{
    sized(runner, key, number, "");
}

static void indexed(struct runner *runner, const char *key, uint32_t index, size_t number)
{
    link_begin(&runner->link);
    link_text(&runner->link, key);
    link_number(&runner->link, index);
    link_text(&runner->link, "-");
    link_number(&runner->link, (uint32_t)number);
    link_end(&runner->link);
}

/* The next word of the command, ended by a zero; *text moves behind it. */
static char *word(char **text)
{
    char *start, *at = *text;
    while (*at == ' ') {
        at++;
    }
    start = at;
    while (*at && *at != ' ') {
        at++;
    }
    if (*at) {
        *at++ = 0;
    }
    *text = at;
    return start;
}

/* A word that is a number and nothing else; `absent` where there is no word. */
static int number_word(char **text, uint32_t *number, uint32_t absent)
{
    char *at = word(text);
    *number = absent;
    return !*at || (link_parse_number(&at, number) && !*at);
}

static size_t all_input_bytes(const struct runner_model *model)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < model->input_count; i++) {
        sum += model->input(i).size;
    }
    return sum;
}

/* The byte at a position in all inputs, one behind the other. */
static uint8_t *input_byte(const struct runner_model *model, size_t position)
{
    for (uint32_t i = 0; i < model->input_count; i++) {
        struct runner_array array = model->input(i);
        if (position < array.size) {
            return array.bytes + position;
        }
        position -= array.size;
    }
    return NULL;
}

static void load(struct runner *runner, char *text)
{
    uint32_t size;
    if (!number_word(&text, &size, 0) || size == 0) {
        line(runner, "e-[Command 'db load' must be >0 bytes]");
    } else if (size != all_input_bytes(runner->model)) {
        sized(runner, "e-[The inputs take ", all_input_bytes(runner->model), " bytes]");
    } else {
        runner->load_bytes = size;
        runner->loaded_bytes = 0;
        sized(runner, "m-[Expecting ", size, " bytes]");
    }
}

static void load_hex(struct runner *runner, const char *digits)
{
    size_t length = strlen(digits);
    if (length % 2) {
        line(runner, "e-[Insufficient number of hex digits]");
        return;
    }
    for (size_t i = 0; i < length; i++) { /* all or nothing */
        if (link_hex_digit(digits[i]) < 0) {
            line(runner, "e-[Invalid hex digit]");
            return;
        }
    }
    if (length / 2 > runner->load_bytes - runner->loaded_bytes) {
        line(runner, "e-[More bytes than 'db load' announced]");
        return;
    }
    for (size_t i = 0; i < length; i += 2) {
        int value = link_hex_digit(digits[i]) * 16 + link_hex_digit(digits[i + 1]);
        *input_byte(runner->model, runner->loaded_bytes++) = (uint8_t)value;
    }
    if (runner->loaded_bytes == runner->load_bytes) {
        line(runner, "m-load-done");
    }
}

static void print_inputs(struct runner *runner)
{
    size_t size = all_input_bytes(runner->model);
    for (size_t i = 0; i < size; i += 8) {
        link_begin(&runner->link);
        link_text(&runner->link, "m-buffer");
        for (size_t k = i; k < size && k < i + 8; k++) {
            link_text(&runner->link, "-");
            link_hex(&runner->link, input_byte(runner->model, k), 1);
        }
        link_end(&runner->link);
    }
}

static void buffer(struct runner *runner, char *text)
{
    char *what = word(&text);
    if (!*what) {
        line(runner, "e-[Command 'db' requires a subcommand]");
    } else if (!strcmp(what, "load")) {
        load(runner, text);
    } else if (!strcmp(what, "print")) {
        print_inputs(runner);
    } else {
        load_hex(runner, what);
    }
}

static void results(struct runner *runner)
{
    for (uint32_t i = 0; i < runner->model->output_count; i++) {
        struct runner_array output = runner->model->output(i);
        for (size_t k = 0; k < output.size; k += BYTES_PER_LINE) {
            size_t rest = output.size - k;
            link_begin(&runner->link);
            link_text(&runner->link, "m-output-");
            link_number(&runner->link, i);
            link_text(&runner->link, "-");
            link_hex(&runner->link, output.bytes + k,
                     rest < BYTES_PER_LINE ? rest : BYTES_PER_LINE);
            link_end(&runner->link);
        }
        link_begin(&runner->link);
        link_text(&runner->link, "m-crc-");
        link_number(&runner->link, i);
        link_text(&runner->link, "-");
        link_number(&runner->link, (uint32_t)output.size);
        link_text(&runner->link, "-");
        link_hex32(&runner->link, link_crc32(0, output.bytes, output.size));
        link_end(&runner->link);
    }
}

static void timestamp(struct runner *runner)
{
    uint32_t ticks = board_ticks();
    uint32_t per_second = board_ticks_per_second;
    uint64_t microseconds = (uint64_t)ticks * 1000000u / (per_second ? per_second : 1u);
    numbered(runner, "m-lap-us-", (size_t)(uint32_t)microseconds);
}

/* board_stack_of takes a function without arguments. */
static int (*stacked_invoke)(void);
static int stacked_status;

static void call_invoke(void)
{
    stacked_status = stacked_invoke();
}

static int invoked(struct runner *runner, uint32_t times)
{
    while (times--) {
        size_t used;
        stacked_invoke = runner->model->invoke;
        used = board_stack_of(call_invoke);
        if (used > runner->invoke_stack_bytes) {
            runner->invoke_stack_bytes = used;
        }
        if (stacked_status) {
            sized(runner, "e-[Invoke failed: status ", (size_t)stacked_status, "]");
            return 0;
        }
    }
    return 1;
}

static void infer(struct runner *runner, char *text)
{
    uint32_t times, warmup;
    if (!number_word(&text, &times, 1) || times == 0) {
        line(runner, "e-[Inference iterations must be >0]");
        return;
    }
    if (!number_word(&text, &warmup, 0)) {
        line(runner, "e-[Inference warmup must be >=0]");
        return;
    }
    if (runner->loaded_bytes != runner->load_bytes) {
        line(runner, "e-[The inputs are not loaded whole]");
        return;
    }
    numbered(runner, "m-warmup-start-", warmup);
    if (!invoked(runner, warmup)) {
        return;
    }
    line(runner, "m-warmup-done");
    numbered(runner, "m-infer-start-", times);
    timestamp(runner);
    if (!invoked(runner, times)) {
        return;
    }
    timestamp(runner);
    line(runner, "m-infer-done");
    results(runner);
}

static void memory(struct runner *runner)
{
    numbered(runner, "m-memory-static-", board_static_ram_bytes());
    numbered(runner, "m-memory-stack-", board_stack_bytes());
    numbered(runner, "m-memory-used-", board_stack_used_bytes());
    numbered(runner, "m-memory-invoke-", runner->invoke_stack_bytes);
}

static void tensors(struct runner *runner)
{
    for (uint32_t i = 0; i < runner->model->input_count; i++) {
        indexed(runner, "m-input-", i, runner->model->input(i).size);
    }
    for (uint32_t i = 0; i < runner->model->output_count; i++) {
        indexed(runner, "m-output-size-", i, runner->model->output(i).size);
    }
}

static void profile(struct runner *runner)
{
    bracketed(runner, "m-profile", VERSION);
    bracketed(runner, "m-model", runner->model->name);
    bracketed(runner, "m-digest", runner->model->digest);
    numbered(runner, "m-limit-", LINK_COMMAND_CHARS);
}

static void help(struct runner *runner)
{
    static const char *const lines[] = {
        VERSION,
        "name, profile, tensors, memory, timestamp, reset",
        "db load N, db HEX..., db print",
        "infer [N=1] [WARMUP=0], results, exit",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        line(runner, lines[i]);
    }
}

/* Does one command; returns 1 for `exit`. */
static int command(struct runner *runner, char *text)
{
    char *verb = word(&text);
    if (!strcmp(verb, "name")) {
        line(runner, "m-name-dut-[refmicro]");
    } else if (!strcmp(verb, "timestamp")) {
        timestamp(runner);
    } else if (!strcmp(verb, "profile")) {
        profile(runner);
    } else if (!strcmp(verb, "help")) {
        help(runner);
    } else if (!strcmp(verb, "db")) {
        buffer(runner, text);
    } else if (!strcmp(verb, "infer")) {
        infer(runner, text);
    } else if (!strcmp(verb, "results")) {
        results(runner);
    } else if (!strcmp(verb, "tensors")) {
        tensors(runner);
    } else if (!strcmp(verb, "memory")) {
        memory(runner);
    } else if (!strcmp(verb, "reset")) {
        runner->model->reset();
        line(runner, "m-reset-done");
    } else if (!strcmp(verb, "exit")) {
        return 1;
    } else {
        link_begin(&runner->link);
        link_text(&runner->link, "e-[Unknown command: ");
        link_text(&runner->link, verb);
        link_text(&runner->link, "]");
        link_end(&runner->link);
    }
    return 0;
}

void runner_start(struct runner *runner, const struct runner_model *model,
                  void (*write)(uint8_t byte))
{
    link_start(&runner->link, write);
    runner->model = model;
    runner->load_bytes = runner->loaded_bytes = 0;
    runner->invoke_stack_bytes = 0;
    line(runner, "m-init-done");
    line(runner, "m-ready");
}

int runner_receive(struct runner *runner, uint8_t byte)
{
    int leave = 0;
    switch (link_receive(&runner->link, byte)) {
    case LINK_NOTHING:
        return 0;
    case LINK_COMMAND:
        leave = command(runner, runner->link.text);
        break;
    case LINK_REPEATED:
        line(runner, "m-repeated");
        break;
    case LINK_DAMAGED:
        line(runner, "e-[Damaged command]");
        break;
    }
    line(runner, "m-ready");
    return leave;
}
