/* Counts what a program does in QEMU: instructions, loads and stores, for each memory region, in all
 * and for each function, alone (`self`) and with what it calls (`inclusive`).
 *
 * QEMU's plugin interface is declared here by hand, because distributions ship QEMU without its
 * header; all functions used are in version 1. PLUGIN_API says which version this library claims to
 * be made for. An emulator that refuses it says which versions it takes or which function it lacks;
 * `refmicro.board.counting` builds it again for that version, or passes on what is missing.
 * Source: QEMU, `include/qemu/qemu-plugin.h`, and the plugins under `tests/plugin`.
 *
 * Arguments: plan=FILE (regions, functions, spans and marks), out=FILE (the counts, written when QEMU
 * ends), parent=PID and limit_s=SECONDS: the process ends itself when the parent has died or the
 * time is over, so that an emulator never outlives the one who asked for it. probe=1 alone ends QEMU
 * at once: whether this library can be loaded is then known.
 *
 * How functions are told apart: the plan holds the address range of each symbol. Execution that
 * reaches a function's first instruction from another function is a call; execution that arrives
 * anywhere else in another function is a return to it, and ends all calls above it. Tail calls
 * thus count for the function that made them, and so does code that has no symbol. No register is
 * read.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef PLUGIN_API
#define PLUGIN_API 1
#endif

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
enum { CALLBACK_READS_NO_REGISTERS = 0 };
enum { ACCESS_READ_AND_WRITE = 3 };

#define EXPORTED __attribute__((visibility("default")))
EXPORTED int qemu_plugin_version = PLUGIN_API;
EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc,
                                 char **argv);
extern void qemu_plugin_register_vcpu_tb_trans_cb(
    qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb));
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
                                           void (*callback)(qemu_plugin_id_t id, void *data),
                                           void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb,
                                                        size_t index);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
                                                   void (*callback)(unsigned vcpu, void *data),
                                                   int flags, void *data);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
                                             void (*callback)(unsigned vcpu,
                                                              qemu_plugin_meminfo_t info,
                                                              uint64_t vaddr, void *data),
                                             int flags, int accesses, void *data);
extern unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
extern bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);

#define MAX_REGIONS 24
#define MAX_DEPTH 4096

struct access { uint64_t loads, stores, load_bytes, store_bytes; };
struct counts { uint64_t instructions; struct access access[MAX_REGIONS + 1]; };

struct range { uint64_t start, end; };
struct function { struct range range; uint64_t calls, active; struct counts self, inclusive; };
struct span { struct range range; uint64_t entries; bool open; struct counts at, sum; };
struct mark { uint64_t address, number; };
struct stretch { uint64_t entries; struct counts sum; };
struct frame { size_t function; struct counts at; };

static struct range regions[MAX_REGIONS];
static size_t region_count; /* accesses outside all regions go to index region_count */
static struct function *functions; /* [0] is everything outside all functions */
static size_t function_count = 1;
static struct span *spans;
static size_t span_count;
static struct mark *marks;
static size_t mark_count;
static struct stretch *stretches; /* by the number of the mark that begins them */
static size_t stretch_count;
static struct { bool open; uint64_t number; struct counts at; } stretch;
static struct counts total;
static struct frame stack[MAX_DEPTH];
static size_t depth = 1; /* stack[0] is the outside */
static size_t current;   /* function of the instruction executed last */
static char *out_path;
static struct { long parent, limit_s; } watch;

static void fail(const char *what)
{
    fprintf(stderr, "refmicro counter: %s\n", what);
    exit(3);
}

static void *grown(void *old, size_t count, size_t size)
{
    void *made = realloc(old, (count + 1) * size);
    if (!made) {
        fail("out of memory");
    }
    memset((char *)made + count * size, 0, size);
    return made;
}

/* sum += now - before */
static void add_difference(struct counts *sum, const struct counts *now,
                           const struct counts *before)
{
    sum->instructions += now->instructions - before->instructions;
    for (size_t i = 0; i <= region_count; i++) {
        sum->access[i].loads += now->access[i].loads - before->access[i].loads;
        sum->access[i].stores += now->access[i].stores - before->access[i].stores;
        sum->access[i].load_bytes += now->access[i].load_bytes - before->access[i].load_bytes;
        sum->access[i].store_bytes += now->access[i].store_bytes - before->access[i].store_bytes;
    }
}

/* Copies the counts of the regions that exist. */
static void snapshot(struct counts *to)
{
    memcpy(to, &total, offsetof(struct counts, access) + (region_count + 1) * sizeof(struct access));
}

static void leave(void)
{
    struct frame *frame = &stack[--depth];
    struct function *function = &functions[frame->function];
    if (--function->active == 0) { /* of a recursion, only the outermost call counts */
        add_difference(&function->inclusive, &total, &frame->at);
    }
}

static void move_to(size_t function, bool at_start)
{
    if (at_start) {
        if (depth == MAX_DEPTH) {
            fail("calls are nested too deep");
        }
        stack[depth].function = function;
        snapshot(&stack[depth].at);
        depth++;
        functions[function].calls++;
        functions[function].active++;
    } else {
        while (depth > 1 && stack[depth - 1].function != function) {
            leave();
        }
    }
    current = function;
}

/* The data of both callbacks is the function's index, doubled, plus 1 at its first instruction. */
static void on_instruction(unsigned vcpu, void *data)
{
    size_t function = (uintptr_t)data >> 1;
    (void)vcpu;
    if (function != current && function) { /* code outside all functions is its caller's */
        move_to(function, (uintptr_t)data & 1);
    }
    total.instructions++;
    functions[function].self.instructions++;
}

static void on_access(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *data)
{
    struct counts *self = &functions[(uintptr_t)data >> 1].self;
    uint64_t bytes = UINT64_C(1) << qemu_plugin_mem_size_shift(info);
    size_t i = 0;
    (void)vcpu;
    while (i < region_count && (address < regions[i].start || address >= regions[i].end)) {
        i++;
    }
    if (qemu_plugin_mem_is_store(info)) {
        total.access[i].stores++;
        total.access[i].store_bytes += bytes;
        self->access[i].stores++;
        self->access[i].store_bytes += bytes;
    } else {
        total.access[i].loads++;
        total.access[i].load_bytes += bytes;
        self->access[i].loads++;
        self->access[i].load_bytes += bytes;
    }
}

static void on_span_start(unsigned vcpu, void *data)
{
    struct span *span = &spans[(uintptr_t)data];
    (void)vcpu;
    if (!span->open) {
        span->open = true;
        span->entries++;
        snapshot(&span->at);
    }
}

static void on_span_end(unsigned vcpu, void *data)
{
    struct span *span = &spans[(uintptr_t)data];
    (void)vcpu;
    if (span->open) {
        span->open = false;
        add_difference(&span->sum, &total, &span->at);
    }
}

/* A mark ends the stretch before it and begins its own; one without a stretch only ends. */
static void on_mark(unsigned vcpu, void *data)
{
    uint64_t number = (uintptr_t)data;
    (void)vcpu;
    if (stretch.open) {
        add_difference(&stretches[stretch.number].sum, &total, &stretch.at);
    }
    stretch.open = number < stretch_count;
    if (stretch.open) {
        stretch.number = number;
        stretches[number].entries++;
        snapshot(&stretch.at);
    }
}

static size_t function_at(uint64_t address)
{
    size_t low = 1, high = function_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (functions[middle].range.end <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < function_count && functions[low].range.start <= address ? low : 0;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t count = qemu_plugin_tb_n_insns(tb);
    (void)id;
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t address = qemu_plugin_insn_vaddr(insn);
        size_t function = function_at(address);
        bool first = function && functions[function].range.start == address;
        void *data = (void *)(uintptr_t)(function << 1 | first);
        for (size_t m = 0; m < mark_count; m++) {
            if (marks[m].address == address) {
                qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, CALLBACK_READS_NO_REGISTERS,
                                                       (void *)(uintptr_t)marks[m].number);
            }
        }
        for (size_t s = 0; s < span_count; s++) {
            if (spans[s].range.end == address) {
                qemu_plugin_register_vcpu_insn_exec_cb(insn, on_span_end,
                                                       CALLBACK_READS_NO_REGISTERS,
                                                       (void *)(uintptr_t)s);
            }
            if (spans[s].range.start == address) {
                qemu_plugin_register_vcpu_insn_exec_cb(insn, on_span_start,
                                                       CALLBACK_READS_NO_REGISTERS,
                                                       (void *)(uintptr_t)s);
            }
        }
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_instruction, CALLBACK_READS_NO_REGISTERS,
                                               data);
        qemu_plugin_register_vcpu_mem_cb(insn, on_access, CALLBACK_READS_NO_REGISTERS,
                                         ACCESS_READ_AND_WRITE, data);
    }
}

static void write_counts(FILE *out, const char *what, size_t index, uint64_t times,
                         const struct counts *counts)
{
    fprintf(out, "%s %zu %" PRIu64 " %" PRIu64, what, index, times, counts->instructions);
    for (size_t i = 0; i <= region_count; i++) {
        const struct access *a = &counts->access[i];
        fprintf(out, " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, a->loads, a->stores,
                a->load_bytes, a->store_bytes);
    }
    fputc('\n', out);
}

static void on_exit_of_qemu(qemu_plugin_id_t id, void *data)
{
    FILE *out = fopen(out_path, "w");
    (void)id;
    (void)data;
    if (!out) {
        fail("cannot write the counts");
    }
    while (depth > 1) {
        leave();
    }
    write_counts(out, "total", 0, 1, &total);
    for (size_t i = 0; i < function_count; i++) {
        if (functions[i].self.instructions) {
            write_counts(out, "self", i, functions[i].calls, &functions[i].self);
            write_counts(out, "inclusive", i, functions[i].calls, &functions[i].inclusive);
        }
    }
    for (size_t i = 0; i < span_count; i++) {
        if (spans[i].open) {
            add_difference(&spans[i].sum, &total, &spans[i].at);
        }
        write_counts(out, "span", i, spans[i].entries, &spans[i].sum);
    }
    for (size_t i = 0; i < stretch_count; i++) {
        write_counts(out, "stretch", i, stretches[i].entries, &stretches[i].sum);
    }
    fputs("end\n", out); /* without this line the file is not whole */
    fclose(out);
}

static void read_plan(const char *path)
{
    FILE *plan = fopen(path, "r");
    char what[16];
    struct range range;
    if (!plan) {
        fail("cannot read the plan");
    }
    functions = grown(NULL, 0, sizeof *functions);
    while (fscanf(plan, "%15s %" SCNx64 " %" SCNx64, what, &range.start, &range.end) == 3) {
        if (!strcmp(what, "region") && region_count < MAX_REGIONS) {
            regions[region_count++] = range;
        } else if (!strcmp(what, "function")) { /* in rising order, without overlap */
            functions = grown(functions, function_count, sizeof *functions);
            functions[function_count++].range = range;
        } else if (!strcmp(what, "span")) {
            spans = grown(spans, span_count, sizeof *spans);
            spans[span_count++].range = range;
        } else if (!strcmp(what, "stretches")) { /* how many, before the first mark */
            stretch_count = range.start;
            stretches = calloc(stretch_count + 1, sizeof *stretches);
            if (!stretches) {
                fail("out of memory");
            }
        } else if (!strcmp(what, "mark")) {
            marks = grown(marks, mark_count, sizeof *marks);
            marks[mark_count++] = (struct mark){range.start, range.end};
        } else {
            fail("the plan is not understood");
        }
    }
    fclose(plan);
}

static void *watchman(void *data)
{
    (void)data;
    for (long second = 0; second < watch.limit_s; second++) {
        if (getppid() != watch.parent) {
            break;
        }
        sleep(1);
    }
    _exit(124);
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc,
                                 char **argv)
{
    pthread_t thread;
    (void)info;
    for (int i = 0; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) {
            return -1;
        }
        *value++ = 0;
        if (!strcmp(argv[i], "probe")) {
            exit(0);
        } else if (!strcmp(argv[i], "plan")) {
            read_plan(value);
        } else if (!strcmp(argv[i], "out")) {
            out_path = strdup(value);
        } else if (!strcmp(argv[i], "parent")) {
            watch.parent = atol(value);
        } else if (!strcmp(argv[i], "limit_s")) {
            watch.limit_s = atol(value);
        }
    }
    if (!out_path || !functions || !watch.limit_s) {
        return -1;
    }
    if (pthread_create(&thread, NULL, watchman, NULL) == 0) {
        pthread_detach(thread);
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
    return 0;
}
