/* What `refmicro.board.build` writes for an emitted model, here for the one in fake_model.c. */
#include <stddef.h>
#include "fake_model.h"
#define GOLDEN_NAME "fake"
#define GOLDEN_DIGEST "crc32-00C0FFEE"
#define GOLDEN_INPUTS 2
#define GOLDEN_OUTPUTS 1
#define GOLDEN_INPUT(index) fake_input(index)
#define GOLDEN_OUTPUT(index) fake_output(index)
#define GOLDEN_RESET fake_reset
#define GOLDEN_INVOKE fake_invoke
static const size_t golden_input_bytes[] = {100, 100};
static const size_t golden_output_bytes[] = {200};
