// Runs the C++ of a split model in the pinned wheel's TFLM: the names that it needs of TFLM are
// declared beside it, as cbridge/bridge.cc declares them, and Python calls `run_split`.
#include "split.cc"
#include "split_models.cc"

namespace tflite {
// python/tflite_micro/python_ops_resolver.h, constructed in storage
class PythonOpsResolver {
 public:
  PythonOpsResolver();
};
}  // namespace tflite

using namespace SPLIT_SPACE;

namespace {
const MicroOpResolver& WheelResolver() {
  alignas(64) static uint8_t storage[65536];
  static const tflite::PythonOpsResolver* const resolver = new (storage) tflite::PythonOpsResolver;
  return *reinterpret_cast<const MicroOpResolver*>(resolver);
}
}  // namespace

// One run in `buffer`, by the same runner as the run before; 0, or the number of the step that
// failed. `fresh` sets its state back.
extern "C" __attribute__((visibility("default"))) int run_split(uint8_t* buffer,
                                                                const uint8_t* inputs,
                                                                uint8_t* outputs, int fresh) {
  static Runner* runner = nullptr;
  if (runner == nullptr) {
    runner = new Runner(WheelResolver(), buffer);
    if (runner->Input(0) != nullptr || runner->Output(0) != nullptr) return 1;
    if (runner->Run() != kTfLiteError) return 2;
  } else if (fresh) {
    runner->Reset();
  }
  if (runner->Begin() != kTfLiteOk) return 3;
  for (int i = 0; i < kInputCount; inputs += kInputBytes[i++]) {
    if (void* const input = runner->Input(i)) std::memcpy(input, inputs, kInputBytes[i]);
  }
  if (runner->Run() != kTfLiteOk) return 4;
  for (int i = 0; i < kOutputCount; outputs += kOutputBytes[i++]) {
    if (runner->Output(i) == nullptr) return 5;
    std::memcpy(outputs, runner->Output(i), kOutputBytes[i]);
  }
  return 0;
}
