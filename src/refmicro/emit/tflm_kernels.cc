// FULLY_CONNECTED and CONV_2D for TensorFlow Lite Micro, made for the shapes of one model.
//
// @SUMMARY@
//
// Use: compile this file with the firmware (C++17, -O2), declare its functions and give them to the
// resolver in the place of TFLM's own,
//
//     const TFLMRegistration& Mema_FULLY_CONNECTED();
//     const TFLMRegistration& Mema_CONV_2D();
//     resolver.AddFullyConnected(Mema_FULLY_CONNECTED());
//     resolver.AddConv2D(Mema_CONV_2D());
//
// An operator is known by its sizes, types and a digest of its filter and bias, taken once in
// Prepare, so that a wrong model is noticed: an operator for which there is no kernel here goes to
// TFLM's own kernel where MEMA_KEEP_TFLM is 1, else Prepare refuses it. The replaced operators take
// no memory from the arena. Their filters lie here once more, arranged as the kernels read them.

#include <cstddef>
#include <cstdint>

#define MEMA_KEEP_TFLM @KEEP@

#ifdef REFMICRO_BRIDGE

// The few names of TFLM that are needed, as the pinned wheel exports them; see cbridge/bridge.cc.
namespace tflite {
namespace micro {

enum TfLiteStatus : int32_t { kTfLiteOk = 0, kTfLiteError = 1 };
enum TfLiteType : int32_t { kTfLiteInt32 = 2, kTfLiteInt64 = 4, kTfLiteInt16 = 7, kTfLiteInt8 = 9 };
struct TfLiteIntArray {
  int32_t size;
  int32_t data[1];
};
struct TfLiteEvalTensor {
  void* data;
  const TfLiteIntArray* dims;
  TfLiteType type;
};
struct TfLiteNode {
  const TfLiteIntArray* inputs;
  const TfLiteIntArray* outputs;
  const TfLiteIntArray* intermediates;
  void* user_data;
  void* builtin_data;
  const void* custom_initial_data;
  int32_t custom_initial_data_size;
};
struct TfLiteContext;
struct TFLMRegistration {
  void* (*init)(TfLiteContext*, const char*, size_t);
  void (*free)(TfLiteContext*, void*);
  TfLiteStatus (*prepare)(TfLiteContext*, TfLiteNode*);
  TfLiteStatus (*invoke)(TfLiteContext*, TfLiteNode*);
  void (*reset)(TfLiteContext*, void*);
  int32_t builtin_code;
  const char* custom_name;
};
const TfLiteEvalTensor* GetEvalInput(const TfLiteContext*, const TfLiteNode*, int index);
TfLiteEvalTensor* GetEvalOutput(const TfLiteContext*, const TfLiteNode*, int index);
TFLMRegistration Register_FULLY_CONNECTED();
TFLMRegistration Register_CONV_2D();
template <typename T>
T* GetTensorData(TfLiteEvalTensor* tensor) {
  return static_cast<T*>(tensor->data);
}
template <typename T>
const T* GetTensorData(const TfLiteEvalTensor* tensor) {
  return static_cast<const T*>(tensor->data);
}

}  // namespace micro
}  // namespace tflite

#else

#include "tensorflow/lite/c/common.h"
#include "tensorflow/lite/micro/kernels/conv.h"
#include "tensorflow/lite/micro/kernels/fully_connected.h"
#include "tensorflow/lite/micro/kernels/kernel_util.h"
#include "tensorflow/lite/micro/micro_common.h"
#include "tensorflow/lite/micro/micro_log.h"

#endif  // REFMICRO_BRIDGE

@KERNELS@

namespace refmicro {
namespace {

// TFLM's names were global once and are moving into these namespaces.
using namespace tflite;         // NOLINT
using namespace tflite::micro;  // NOLINT

constexpr int32_t kFullyConnected = 9;
constexpr int32_t kConv2D = 3;

// An operator of the model and the kernel that computes it; sizes count values.
struct Replacement {
  int32_t builtin_code;
  int32_t type;  // of input and output
  uint32_t inputs;
  uint32_t filter_bytes;
  uint32_t bias_bytes;
  uint32_t outputs;
  uint32_t digest;  // of filter and bias
  void (*run)(const void* input, void* output);
};

const Replacement kReplacements[] = {
@TABLE@
};
constexpr size_t kReplacementCount = sizeof(kReplacements) / sizeof(kReplacements[0]);

uint32_t Elements(const TfLiteEvalTensor* tensor) {
  uint32_t count = 1;
  for (int32_t i = 0; i < tensor->dims->size; ++i) {
    count *= static_cast<uint32_t>(tensor->dims->data[i]);
  }
  return count;
}

// FNV-1a.
uint32_t Digest(uint32_t digest, const void* data, uint32_t bytes) {
  const uint8_t* const values = static_cast<const uint8_t*>(data);
  for (uint32_t i = 0; i < bytes; ++i) digest = (digest ^ values[i]) * 16777619u;
  return digest;
}

const TfLiteEvalTensor* Bias(const TfLiteContext* context, const TfLiteNode* node) {
  if (node->inputs->size < 3 || node->inputs->data[2] < 0) return nullptr;
  return GetEvalInput(context, node, 2);
}

bool Fits(const Replacement& known, const TfLiteContext* context, const TfLiteNode* node) {
  const TfLiteEvalTensor* const input = GetEvalInput(context, node, 0);
  const TfLiteEvalTensor* const filter = GetEvalInput(context, node, 1);
  const TfLiteEvalTensor* const bias = Bias(context, node);
  const TfLiteEvalTensor* const output = GetEvalOutput(context, node, 0);
  // Tensors that are no constants have no memory yet.
  const void* const filter_values = GetTensorData<uint8_t>(filter);
  const void* const bias_values = bias == nullptr ? nullptr : GetTensorData<uint8_t>(bias);
  if (filter_values == nullptr || (bias != nullptr && bias_values == nullptr)) return false;
  uint32_t bias_bytes = 0;
  if (bias != nullptr) bias_bytes = Elements(bias) * (bias->type == kTfLiteInt64 ? 8 : 4);
  if (input->type != known.type || output->type != known.type || filter->type != kTfLiteInt8 ||
      Elements(input) != known.inputs || Elements(filter) != known.filter_bytes ||
      bias_bytes != known.bias_bytes || Elements(output) != known.outputs) {
    return false;
  }
  const uint32_t digest = Digest(2166136261u, filter_values, known.filter_bytes);
  return Digest(digest, bias_values, bias_bytes) == known.digest;
}

const Replacement* Find(int32_t builtin_code, const TfLiteContext* context,
                        const TfLiteNode* node) {
  for (const Replacement& known : kReplacements) {
    if (known.builtin_code == builtin_code && Fits(known, context, node)) return &known;
  }
  return nullptr;
}

#if MEMA_KEEP_TFLM
template <int32_t kOperator>
const TFLMRegistration& Tflm() {
  static const TFLMRegistration registration =
      kOperator == kConv2D ? Register_CONV_2D() : Register_FULLY_CONNECTED();
  return registration;
}
#endif

template <int32_t kOperator>
TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node) {
  const Replacement* const found = Find(kOperator, context, node);
  node->user_data = const_cast<Replacement*>(found);
  if (found != nullptr) return kTfLiteOk;
#if MEMA_KEEP_TFLM
  const TFLMRegistration& own = Tflm<kOperator>();
  if (own.init != nullptr) node->user_data = own.init(context, nullptr, 0);
  return own.prepare(context, node);
#else
#ifndef REFMICRO_BRIDGE
  MicroPrintf("no kernel was made for this operator: another model or another filter");
#endif
  return kTfLiteError;
#endif
}

template <int32_t kOperator>
TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) {
  const uintptr_t place = reinterpret_cast<uintptr_t>(node->user_data);
  const uintptr_t first = reinterpret_cast<uintptr_t>(kReplacements);
#if MEMA_KEEP_TFLM
  if (place < first || place >= first + sizeof(kReplacements)) {
    return Tflm<kOperator>().invoke(context, node);
  }
#endif
  const Replacement& known = kReplacements[(place - first) / sizeof(Replacement)];
  known.run(GetTensorData<uint8_t>(GetEvalInput(context, node, 0)),
            GetTensorData<uint8_t>(GetEvalOutput(context, node, 0)));
  return kTfLiteOk;
}

template <int32_t kOperator>
const TFLMRegistration& Registration() {
  static const TFLMRegistration registration = [] {
    TFLMRegistration made = {};
    made.prepare = Prepare<kOperator>;
    made.invoke = Invoke<kOperator>;
    made.builtin_code = kOperator;
    return made;
  }();
  return registration;
}

}  // namespace

auto FullyConnected() -> decltype(Registration<kFullyConnected>()) {
  return Registration<kFullyConnected>();
}
auto Conv2D() -> decltype(Registration<kConv2D>()) { return Registration<kConv2D>(); }

}  // namespace refmicro

auto Mema_FULLY_CONNECTED() -> decltype(refmicro::FullyConnected()) {
  return refmicro::FullyConnected();
}
auto Mema_CONV_2D() -> decltype(refmicro::Conv2D()) { return refmicro::Conv2D(); }

#ifdef REFMICRO_BRIDGE
extern "C" __attribute__((visibility("default"))) const void* MemaFullyConnected() {
  return &Mema_FULLY_CONNECTED();
}
extern "C" __attribute__((visibility("default"))) const void* MemaConv2D() {
  return &Mema_CONV_2D();
}
#endif  // REFMICRO_BRIDGE
