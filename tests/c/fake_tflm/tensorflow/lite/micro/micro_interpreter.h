// As much of TFLM's interface as tflm_harness.cc uses, over the model of tests/c/fake.c, so that the
// harness is compiled and spoken to where TFLM's sources are not.
#ifndef FAKE_MICRO_INTERPRETER_H_
#define FAKE_MICRO_INTERPRETER_H_

#include <cstddef>
#include <cstdint>

extern "C" {
#include "fake.h"
}

typedef enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;

struct TfLiteTensor {
  union {
    char* raw;
  } data;
  size_t bytes;
};

namespace tflite {

struct Model {
  unsigned char first_byte;
};

inline const Model* GetModel(const void* bytes) { return static_cast<const Model*>(bytes); }

class MicroOpResolver {};

class MicroAllocator {
 public:
  static MicroAllocator* Create(uint8_t* arena, size_t arena_bytes) {
    static MicroAllocator allocator;
    arena[0] = 0;
    return arena_bytes >= 1000 ? &allocator : nullptr;
  }
};

class MicroResourceVariables {
 public:
  static MicroResourceVariables* Create(MicroAllocator*, int) { return nullptr; }
};

class MicroInterpreter {
 public:
  MicroInterpreter(const Model* model, const MicroOpResolver&, MicroAllocator*,
                   MicroResourceVariables* = nullptr)
      : model_(model) {}
  TfLiteStatus AllocateTensors() { return model_->first_byte == 0 ? kTfLiteOk : kTfLiteError; }
  TfLiteStatus Invoke() {
    fake_invoke();
    return kTfLiteOk;
  }
  TfLiteStatus Reset() {
    fake_reset();
    return kTfLiteOk;
  }
  size_t inputs_size() const { return FAKE_INPUTS; }
  size_t outputs_size() const { return FAKE_OUTPUTS; }
  TfLiteTensor* input(size_t index) {
    unsigned number = static_cast<unsigned>(index);
    return Set(fake_input(number), fake_input_bytes(number));
  }
  TfLiteTensor* output(size_t index) {
    unsigned number = static_cast<unsigned>(index);
    return Set(fake_output(number), fake_output_bytes(number));
  }

 private:
  TfLiteTensor* Set(void* bytes, size_t size) {
    tensor_.data.raw = static_cast<char*>(bytes);
    tensor_.bytes = size;
    return &tensor_;
  }
  const Model* model_;
  TfLiteTensor tensor_;
};

}  // namespace tflite

#endif
