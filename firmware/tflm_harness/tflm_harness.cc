// Speaks refmicro's line protocol over TensorFlow Lite Micro as you have built it: with your kernel
// library, compiler and flags. Add this one file to your project and let the compiler find
// `firmware/common`; then `refmicro validate MODEL --board serial:PORT` compares every output byte
// with TFLM's reference, and `profile` and `memory` say what runs there.
//
// What you give:
//   tflm_model            the bytes of the .tflite file, 16-byte aligned
//   tflm_model_bytes      their number
//   tflm_resolver()       a resolver with the model's operators
//   board_*               the functions of common/board.h; those that measure memory may be left
//                         out and then say 0
//   TFLM_ARENA_BYTES      size of the arena; `refmicro estimate` knows it
//   TFLM_RESOURCE_VARIABLES   how many the model has, if it has any
//
// TFLM has its answer to a bad model on its own log; here the runner then says e-[...] to `infer`.

#include <new>

#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_op_resolver.h"
#include "tensorflow/lite/micro/micro_resource_variable.h"
#include "tensorflow/lite/schema/schema_generated.h"

extern "C" {
#include "link.c"
#include "runner.c"

// Boards without the startup code and linker script of this repository do not measure memory.
__attribute__((weak)) size_t board_stack_used_bytes(void) { return 0; }
__attribute__((weak)) size_t board_stack_bytes(void) { return 0; }
__attribute__((weak)) size_t board_static_ram_bytes(void) { return 0; }
__attribute__((weak)) size_t board_stack_of(void (*call)(void)) {
  call();
  return 0;
}
}

#ifndef TFLM_ARENA_BYTES
#error "define TFLM_ARENA_BYTES, see the head of this file"
#endif
#ifndef TFLM_RESOURCE_VARIABLES
#define TFLM_RESOURCE_VARIABLES 0
#endif

extern const unsigned char tflm_model[];
extern const size_t tflm_model_bytes;
const tflite::MicroOpResolver& tflm_resolver();

namespace {

alignas(16) uint8_t arena[TFLM_ARENA_BYTES];
alignas(tflite::MicroInterpreter) uint8_t interpreter_bytes[sizeof(tflite::MicroInterpreter)];
tflite::MicroInterpreter* interpreter;  // null until TFLM has taken the model
bool is_ready;
char digest[] = "crc32-00000000";
runner the_runner;

runner_array array_of(const TfLiteTensor* tensor) {
  runner_array array = {nullptr, 0};
  if (tensor != nullptr) {
    array.bytes = reinterpret_cast<uint8_t*>(tensor->data.raw);
    array.size = tensor->bytes;
  }
  return array;
}

runner_array input(uint32_t index) { return array_of(interpreter->input(index)); }

runner_array output(uint32_t index) { return array_of(interpreter->output(index)); }

void reset() {
  if (is_ready) {
    interpreter->Reset();
  }
}

int invoke() {
  return is_ready ? static_cast<int>(interpreter->Invoke()) : static_cast<int>(kTfLiteError);
}

// The interpreter in memory of its own: nothing here needs a heap.
void prepare() {
  tflite::MicroAllocator* allocator = tflite::MicroAllocator::Create(arena, sizeof arena);
  if (allocator == nullptr) {
    return;
  }
  tflite::MicroResourceVariables* variables = nullptr;
  if (TFLM_RESOURCE_VARIABLES > 0) {
    variables = tflite::MicroResourceVariables::Create(allocator, TFLM_RESOURCE_VARIABLES);
  }
  interpreter = new (interpreter_bytes) tflite::MicroInterpreter(
      tflite::GetModel(tflm_model), tflm_resolver(), allocator, variables);
  is_ready = interpreter->AllocateTensors() == kTfLiteOk;
}

void write_digest() {
  uint32_t crc = link_crc32(0, tflm_model, tflm_model_bytes);
  for (size_t i = sizeof digest - 2; i >= sizeof "crc32-" - 1; i--, crc >>= 4) {
    digest[i] = "0123456789ABCDEF"[crc & 15];
  }
}

}  // namespace

int main() {
  board_start();
  write_digest();
  prepare();
  static const runner_model model = {
      "tflm",
      digest,
      is_ready ? static_cast<uint32_t>(interpreter->inputs_size()) : 0,
      is_ready ? static_cast<uint32_t>(interpreter->outputs_size()) : 0,
      input,
      output,
      reset,
      invoke,
  };
  runner_start(&the_runner, &model, board_write);
  while (!runner_receive(&the_runner, board_read())) {
  }
  return 0;
}
