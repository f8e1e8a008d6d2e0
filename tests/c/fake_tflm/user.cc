// What a user of tflm_harness.cc gives: a model and a resolver.
#include "tensorflow/lite/micro/micro_interpreter.h"

#ifndef FIRST_BYTE
#define FIRST_BYTE 0
#endif

extern const unsigned char tflm_model[];
extern const size_t tflm_model_bytes;
const unsigned char tflm_model[] = {FIRST_BYTE, 1, 2, 3};
const size_t tflm_model_bytes = sizeof tflm_model;

const tflite::MicroOpResolver& tflm_resolver() {
  static tflite::MicroOpResolver resolver;
  return resolver;
}
