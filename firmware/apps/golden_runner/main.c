/* Runs an emitted model for the host. `golden_model.h`, written with the program, says which:
 * the model's header, its name and digest, its arrays, reset and invoke. */
#include "board.h"
#include "golden_model.h"
#include "runner.h"

static struct runner_array input(uint32_t index)
{
    struct runner_array array;
    array.bytes = (uint8_t *)GOLDEN_INPUT(index);
    array.size = GOLDEN_INPUT_BYTES(index);
    return array;
}

static struct runner_array output(uint32_t index)
{
    struct runner_array array;
    array.bytes = (uint8_t *)GOLDEN_OUTPUT(index);
    array.size = GOLDEN_OUTPUT_BYTES(index);
    return array;
}

static int invoke(void)
{
    GOLDEN_INVOKE();
    GOLDEN_END;
    return 0;
}

static void reset(void)
{
    GOLDEN_RESET();
}

static const struct runner_model model = {
    GOLDEN_NAME, GOLDEN_DIGEST, GOLDEN_INPUTS, GOLDEN_OUTPUTS, input, output, reset, invoke,
};

static struct runner runner;

int main(void)
{
    board_start();
    reset();
    runner_start(&runner, &model, board_write);
    while (!runner_receive(&runner, board_read())) {
    }
    return 0;
}
