// The names of TFLM that the C++ of a split model uses, as the pinned wheel exports them.
#ifndef SPLIT_TFLM_H_
#define SPLIT_TFLM_H_
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tflite {

struct Model;
inline const Model* GetModel(const void* data) {
  uint32_t root;
  std::memcpy(&root, data, sizeof(root));
  return reinterpret_cast<const Model*>(static_cast<const uint8_t*>(data) + root);
}

namespace micro {

enum TfLiteStatus : int32_t { kTfLiteOk = 0, kTfLiteError = 1 };
struct TfLiteTensor {
  int32_t quantization_type;
  const void* quantization;
  float scale;
  int32_t zero_point;
  union {
    void* data;
  } data;
};
class MicroOpResolver;
class MicroResourceVariables;
class MicroProfilerInterface;
class MicroInterpreter {
 public:
  MicroInterpreter(const Model*, const MicroOpResolver&, uint8_t* arena, size_t bytes,
                   MicroResourceVariables* = nullptr, MicroProfilerInterface* = nullptr,
                   bool preserve_all_tensors = false);
  ~MicroInterpreter();
  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
  TfLiteTensor* input(size_t index);
  TfLiteTensor* output(size_t index);

 private:
  alignas(64) unsigned char storage_[4096];  // the object takes 408 or a little more
};

}  // namespace micro
}  // namespace tflite
#endif  // SPLIT_TFLM_H_
