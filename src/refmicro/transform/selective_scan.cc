// SELECTIVE_SCAN for TensorFlow Lite Micro: the registration of refmicro's custom operator.
//
// What it computes, bit for bit, and how its options are laid out is said in one place, in
// refmicro's `ops/selective_scan.py`. The options hold all multipliers and tables and are read
// where the model is: the operator has no data of its own in the arena. Where it has a state tensor
// it needs no scratch buffer either, because each channel is finished before the next one begins.
//
// Use: compile this file with the firmware, declare its only function, and add the operator to the
// resolver,
//
//     const TFLMRegistration* Register_SELECTIVE_SCAN();
//     resolver.AddCustom("SELECTIVE_SCAN", Register_SELECTIVE_SCAN());
//
// The model must lie at an address that is a multiple of 4 (TFLM asks for 16), on a little-endian
// machine. Element i of y is written after element i of u, delta and z was read for the last time,
// and so is the new state, so that an offline plan may let them share memory.

#include <cstddef>
#include <cstdint>

#ifdef REFMICRO_BRIDGE

// The few names of TFLM that are needed, as the pinned wheel exports them; see cbridge/bridge.cc.
namespace tflite {
namespace micro {

enum TfLiteStatus : int32_t { kTfLiteOk = 0, kTfLiteError = 1 };
enum TfLiteType : int32_t { kTfLiteInt32 = 2, kTfLiteInt16 = 7, kTfLiteInt8 = 9 };
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
class MicroContext {
 public:
  virtual ~MicroContext() = default;
  virtual void* AllocatePersistentBuffer(size_t bytes) = 0;
  virtual TfLiteStatus RequestScratchBufferInArena(size_t bytes, int* index) = 0;
  virtual void* GetScratchBuffer(int index) = 0;
};
struct TfLiteContext {
  MicroContext* implementation;
};
struct TFLMRegistration {
  void* (*init)(TfLiteContext*, const char*, size_t);
  void (*free)(TfLiteContext*, void*);
  TfLiteStatus (*prepare)(TfLiteContext*, TfLiteNode*);
  TfLiteStatus (*invoke)(TfLiteContext*, TfLiteNode*);
  void (*reset)(TfLiteContext*, void*);
  int32_t builtin_code;
  const char* custom_name;
};
TfLiteEvalTensor* GetMutableEvalInput(const TfLiteContext*, const TfLiteNode*, int index);
const TfLiteEvalTensor* GetEvalInput(const TfLiteContext*, const TfLiteNode*, int index);
TfLiteEvalTensor* GetEvalOutput(const TfLiteContext*, const TfLiteNode*, int index);
inline MicroContext* GetMicroContext(const TfLiteContext* context) {
  return context->implementation;
}
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
#include "tensorflow/lite/micro/kernels/kernel_util.h"
#include "tensorflow/lite/micro/micro_common.h"
#include "tensorflow/lite/micro/micro_context.h"

#endif  // REFMICRO_BRIDGE

namespace refmicro {
namespace {

// TFLM's names were global once and are moving into these namespaces.
using namespace tflite;         // NOLINT
using namespace tflite::micro;  // NOLINT

enum Input { kU, kDelta, kA, kB, kC, kSkip, kZ, kState, kStep };
enum Output { kY, kNewState };

constexpr int32_t kMagic = 0x31435353;
constexpr int32_t kHasSkip = 1;
constexpr int32_t kHasGate = 2;
constexpr int32_t kDriven = 4;  // u takes the place of the product of delta and u
constexpr int32_t kUnit = 8;    // u is added without a factor
constexpr int32_t kSerial = 16;  // one invocation is one step, input kStep says which
constexpr int32_t kColumns = 32;  // the decay is a table of delta for each n, there is no A
constexpr int32_t kSum = 64;       // the decay is a function of the sum of delta and A
constexpr int32_t kMinusDelta = 128;
constexpr int32_t kMinusA = 256;
constexpr int32_t kFresh = 1;
constexpr int32_t kSizeLimit = 1 << 16;
constexpr int kSumShift = 20;
constexpr int32_t kDecayEntries16 = 513;

struct Header {
  int32_t magic, state_bits, steps, channels, size, sets, start, flags;
};

// (a + a_offset) * (b + b_offset), rescaled and clamped.
struct Product {
  int32_t a_offset, b_offset, multiplier, shift, output_offset, low, high;
};

// The sum of two values, each rescaled first, rescaled and clamped.
struct Sum {
  int32_t a_offset, b_offset, a_multiplier, a_shift, b_multiplier, b_shift;
  int32_t multiplier, shift, output_offset, low, high;
};

struct Step {
  int32_t flags;
  Product argument, keep, drive, input;
  Sum update;
  Product output, skip;
  Sum total;
  Product gate;
};

static_assert(sizeof(Header) == 32 && sizeof(Step) == 4 * 72, "records must have no gaps");

int32_t Clamp(int32_t x, int32_t low, int32_t high) {
  return x < low ? low : (x > high ? high : x);
}

// x * multiplier * 2^(shift - 31), rounded twice: MultiplyByQuantizedMultiplier of TFLM in a build
// without TFLITE_SINGLE_ROUNDING. The multiplier is not negative.
int32_t Rescale(int32_t x, int32_t multiplier, int32_t shift) {
  if (shift > 0) x = static_cast<int32_t>(static_cast<uint32_t>(x) << shift);
  const int64_t product = static_cast<int64_t>(x) * multiplier;
  const int64_t nudge = product >= 0 ? (1 << 30) : 1 - (1 << 30);
  const int32_t high = static_cast<int32_t>((product + nudge) / (int64_t{1} << 31));
  if (shift >= 0) return high;
  const int32_t mask = static_cast<int32_t>((int64_t{1} << -shift) - 1);
  const int32_t threshold = (mask >> 1) + (high < 0 ? 1 : 0);
  return (high >> -shift) + ((high & mask) > threshold ? 1 : 0);
}

int32_t Finish(const Product& p, int32_t x) {
  return Clamp(Rescale(x, p.multiplier, p.shift) + p.output_offset, p.low, p.high);
}

int32_t Multiply(const Product& p, int32_t a, int32_t b) {
  return Finish(p, (a + p.a_offset) * (b + p.b_offset));
}

int32_t Add(const Sum& s, int32_t a, int32_t b, int32_t a_sign = 1, int32_t b_sign = 1) {
  const int32_t left = Rescale((a + s.a_offset) * (1 << kSumShift), s.a_multiplier, s.a_shift);
  const int32_t right = Rescale((b + s.b_offset) * (1 << kSumShift), s.b_multiplier, s.b_shift);
  const int32_t sum = a_sign * left + b_sign * right;
  return Clamp(Rescale(sum, s.multiplier, s.shift) + s.output_offset, s.low, s.high);
}

int32_t DecayBytes(const Header& h) {
  if (h.flags & kColumns) return 256 * h.size * (h.state_bits / 8);
  return h.state_bits == 8 ? 256 : (2 * kDecayEntries16 + 3) / 4 * 4;
}

// The options, seen as records where they lie.
class Options {
 public:
  explicit Options(const TfLiteNode* node)
      : start_(static_cast<const uint8_t*>(node->custom_initial_data)) {}

  const Header& header() const { return *reinterpret_cast<const Header*>(start_); }
  // Steps of one invocation.
  int32_t StepsAtOnce() const { return (header().flags & kSerial) ? 1 : header().steps; }
  int32_t TableEntryBytes() const { return header().state_bits / 8; }
  template <typename T>
  const T* DeltaTable() const {
    return reinterpret_cast<const T*>(start_ + sizeof(Header));
  }
  template <typename T>
  const T* GateTable() const {
    return DeltaTable<T>() + 256;
  }
  const Step& step(int32_t t) const {
    const int32_t tables = (header().flags & kHasGate) ? 2 : 1;
    const uint8_t* const first = start_ + sizeof(Header) + tables * 256 * TableEntryBytes();
    const int32_t set = header().sets > 1 ? t : 0;
    return *reinterpret_cast<const Step*>(first + set * SetBytes());
  }
  template <typename T>
  static const T* DecayTable(const Step& step) {
    return reinterpret_cast<const T*>(&step + 1);
  }
  // What the decay is a function of, for one step size and one value of A.
  int32_t Argument(const Step& step, int32_t delta, int32_t s, int32_t a) const {
    const int32_t flags = header().flags;
    if (!(flags & kSum)) return Multiply(step.argument, s, a);
    const uint8_t* const end = DecayTable<uint8_t>(step) + DecayBytes(header());
    return Add(*reinterpret_cast<const Sum*>(end), delta, a, (flags & kMinusDelta) ? -1 : 1,
               (flags & kMinusA) ? -1 : 1);
  }
  bool Valid(int32_t bytes) const {
    if (start_ == nullptr || reinterpret_cast<uintptr_t>(start_) % alignof(int32_t) != 0 ||
        bytes < static_cast<int32_t>(sizeof(Header))) {
      return false;
    }
    const Header& h = header();
    if (h.magic != kMagic || (h.state_bits != 8 && h.state_bits != 16)) return false;
    if (!InRange(h.steps) || !InRange(h.channels) || !InRange(h.size)) return false;
    if (h.sets != 1 && h.sets != h.steps) return false;
    const int64_t tables = (h.flags & kHasGate) ? 2 : 1;
    return bytes == static_cast<int64_t>(sizeof(Header)) + tables * 256 * TableEntryBytes() +
                        static_cast<int64_t>(h.sets) * SetBytes();
  }

 private:
  static bool InRange(int32_t value) { return value > 0 && value < kSizeLimit; }
  int32_t SetBytes() const {
    const int32_t sum = (header().flags & kSum) ? static_cast<int32_t>(sizeof(Sum)) : 0;
    return static_cast<int32_t>(sizeof(Step)) + DecayBytes(header()) + sum;
  }
  const uint8_t* const start_;
};

// What one invocation reads and writes; absent tensors are null.
struct Tensors {
  const int8_t *u, *delta, *a, *b, *c, *skip, *z;
  int8_t* y;
  int32_t a_stride;  // 0 where all channels share one row of A
  int32_t first;     // number of the first step
};

// Run the steps of one channel; `h` is read and `new_h` written, N values each.
void ScanChannel(const Options& options, const Tensors& x, int32_t channel, const int8_t* h,
                 int8_t* new_h) {
  const Header& header = options.header();
  const bool columns = header.flags & kColumns;
  const int8_t* const a = columns ? nullptr : x.a + channel * x.a_stride;
  for (int32_t t = 0; t < options.StepsAtOnce(); ++t) {
    const Step& step = options.step(x.first + t);
    const int8_t* const decay = Options::DecayTable<int8_t>(step);
    const int32_t place = t * header.channels + channel;
    const int32_t u = x.u[place];
    const int32_t index = x.delta[place] + 128;
    const int32_t s = options.DeltaTable<int8_t>()[index];
    const int32_t drive = (header.flags & kDriven) ? u : Multiply(step.drive, s, u);
    const int8_t* const b = x.b + t * header.size;
    const int8_t* const c = x.c + t * header.size;
    int32_t sum = 0;
    for (int32_t n = 0; n < header.size; ++n) {
      int32_t value = Multiply(step.input, drive, b[n]);
      if (!(step.flags & kFresh)) {
        const int32_t entry = columns
                                  ? n * 256 + index
                                  : options.Argument(step, x.delta[place], s, a[n]) + 128;
        value = Add(step.update, Multiply(step.keep, decay[entry], h[n]), value);
      }
      new_h[n] = static_cast<int8_t>(value);
      sum += (value + step.output.a_offset) * (c[n] + step.output.b_offset);
    }
    h = new_h;
    int32_t out = Finish(step.output, sum);
    if (x.skip != nullptr) {
      out = Add(step.total, out, Multiply(step.skip, u, x.skip[channel]));
    } else if (header.flags & kUnit) {
      out = Add(step.total, out, u);
    }
    if (x.z != nullptr) {
      out = Multiply(step.gate, out, options.GateTable<int8_t>()[x.z[place] + 128]);
    }
    x.y[place] = static_cast<int8_t>(out);
  }
}

// The same with 16 bits between inputs and output; decays are in units of 2^-15.
void ScanChannel(const Options& options, const Tensors& x, int32_t channel, const int16_t* h,
                 int16_t* new_h) {
  const Header& header = options.header();
  const bool columns = header.flags & kColumns;
  const int8_t* const a = columns ? nullptr : x.a + channel * x.a_stride;
  for (int32_t t = 0; t < options.StepsAtOnce(); ++t) {
    const Step& step = options.step(x.first + t);
    const int16_t* const decay = Options::DecayTable<int16_t>(step);
    const int32_t place = t * header.channels + channel;
    const int32_t u = x.u[place];
    const int32_t index = x.delta[place] + 128;
    const int32_t s = options.DeltaTable<int16_t>()[index];
    const int32_t drive = (header.flags & kDriven) ? u : Multiply(step.drive, s, u);
    const int8_t* const b = x.b + t * header.size;
    const int8_t* const c = x.c + t * header.size;
    int32_t sum = 0;
    for (int32_t n = 0; n < header.size; ++n) {
      int32_t value = Multiply(step.input, drive, b[n]);
      if (!(step.flags & kFresh)) {
        int32_t kept;
        if (columns) {
          kept = decay[n * 256 + index];
        } else {
          const int32_t argument = options.Argument(step, x.delta[place], s, a[n]) + 32768;
          const int32_t low = decay[argument >> 7];
          const int32_t rise = decay[(argument >> 7) + 1] - low;
          kept = low + ((rise * (argument & 127) + 64) >> 7);
        }
        value = Clamp(((h[n] * kept + 16384) >> 15) + value, -32768, 32767);
      }
      new_h[n] = static_cast<int16_t>(value);
      sum += value * (c[n] + step.output.b_offset);
    }
    h = new_h;
    int32_t out = Finish(step.output, sum);
    if (x.skip != nullptr || (header.flags & kUnit)) {
      const int32_t weight = x.skip == nullptr ? 1 : x.skip[channel];
      out = Clamp(out + Multiply(step.skip, u, weight), -32768, 32767);
    }
    const int32_t gate =
        x.z == nullptr ? 1 : options.GateTable<int16_t>()[x.z[place] + 128];
    x.y[place] = static_cast<int8_t>(Multiply(step.gate, out, gate));
  }
}

template <typename State>
void Scan(const Options& options, const Tensors& x, State* scratch, const State* state,
          State* new_state) {
  const Header& header = options.header();
  for (int32_t channel = 0; channel < header.channels; ++channel) {
    const int32_t row = channel * header.size;
    if (scratch != nullptr) {
      for (int32_t n = 0; n < header.size; ++n) {
        scratch[n] = static_cast<State>(header.start);
      }
      ScanChannel(options, x, channel, static_cast<const State*>(scratch), scratch);
    } else {
      ScanChannel(options, x, channel, state + row, new_state + row);
    }
  }
}

int64_t Elements(const TfLiteEvalTensor* tensor) {
  int64_t count = 1;
  for (int32_t i = 0; i < tensor->dims->size; ++i) count *= tensor->dims->data[i];
  return count;
}

bool Holds(const TfLiteEvalTensor* tensor, int type, int64_t count) {
  return tensor != nullptr && static_cast<int>(tensor->type) == type && Elements(tensor) == count;
}

template <typename T>
const T* Data(const TfLiteContext* context, const TfLiteNode* node, int index) {
  const TfLiteEvalTensor* const tensor = GetEvalInput(context, node, index);
  return tensor == nullptr ? nullptr : GetTensorData<T>(tensor);
}

bool InputsFit(const TfLiteContext* context, const TfLiteNode* node, const Options& options) {
  const Header& h = options.header();
  const int64_t sequence = static_cast<int64_t>(options.StepsAtOnce()) * h.channels;
  const int64_t rows = static_cast<int64_t>(options.StepsAtOnce()) * h.size;
  const int64_t state = static_cast<int64_t>(h.channels) * h.size;
  const TfLiteEvalTensor* const a = GetEvalInput(context, node, kA);
  if (!Holds(GetEvalInput(context, node, kU), kTfLiteInt8, sequence) ||
      !Holds(GetEvalInput(context, node, kDelta), kTfLiteInt8, sequence) ||
      !Holds(GetEvalInput(context, node, kB), kTfLiteInt8, rows) ||
      !Holds(GetEvalInput(context, node, kC), kTfLiteInt8, rows) ||
      !Holds(GetEvalOutput(context, node, kY), kTfLiteInt8, sequence)) {
    return false;
  }
  if ((h.flags & kColumns) ? a != nullptr
                           : !(Holds(a, kTfLiteInt8, h.size) || Holds(a, kTfLiteInt8, state))) {
    return false;
  }
  const TfLiteEvalTensor* const skip = GetEvalInput(context, node, kSkip);
  const TfLiteEvalTensor* const z = GetEvalInput(context, node, kZ);
  if ((h.flags & kHasSkip) ? !Holds(skip, kTfLiteInt8, h.channels) : skip != nullptr) return false;
  if ((h.flags & kHasGate) ? !Holds(z, kTfLiteInt8, sequence) : z != nullptr) return false;
  if ((h.flags & kSerial) && !Holds(GetEvalInput(context, node, kStep), kTfLiteInt32, 1)) {
    return false;
  }
  const int type = h.state_bits == 8 ? kTfLiteInt8 : kTfLiteInt16;
  const TfLiteEvalTensor* const old = GetEvalInput(context, node, kState);
  if (old != nullptr && !Holds(old, type, state)) return false;
  return node->outputs->size == 1 ||
         (old != nullptr && Holds(GetEvalOutput(context, node, kNewState), type, state));
}

TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node) {
  const Options options(node);
  if (node->outputs->size < 1 || node->outputs->size > 2 ||
      !options.Valid(static_cast<int32_t>(node->custom_initial_data_size))) {
    return kTfLiteError;
  }
  const int32_t inputs = (options.header().flags & kSerial) ? kStep + 1 : kStep;
  if (node->inputs->size != inputs || !InputsFit(context, node, options)) return kTfLiteError;
  if (GetEvalInput(context, node, kState) != nullptr) return kTfLiteOk;
  // Without a state tensor one channel's state lives in a scratch buffer, whose index must be kept.
  MicroContext* const micro_context = GetMicroContext(context);
  node->user_data = micro_context->AllocatePersistentBuffer(sizeof(int));
  if (node->user_data == nullptr) return kTfLiteError;
  const Header& h = options.header();
  return micro_context->RequestScratchBufferInArena(
      static_cast<size_t>(h.size) * h.state_bits / 8, static_cast<int*>(node->user_data));
}

template <typename State>
void Invoke(TfLiteContext* context, TfLiteNode* node, const Options& options, const Tensors& x) {
  TfLiteEvalTensor* const old = GetMutableEvalInput(context, node, kState);
  if (old == nullptr) {
    void* const scratch =
        GetMicroContext(context)->GetScratchBuffer(*static_cast<int*>(node->user_data));
    Scan<State>(options, x, static_cast<State*>(scratch), nullptr, nullptr);
    return;
  }
  TfLiteEvalTensor* const to =
      node->outputs->size == 2 ? GetEvalOutput(context, node, kNewState) : old;
  Scan<State>(options, x, nullptr, GetTensorData<State>(old), GetTensorData<State>(to));
}

TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) {
  const Options options(node);
  const Header& h = options.header();
  const TfLiteEvalTensor* const a = GetEvalInput(context, node, kA);
  const bool shared_a = a != nullptr && Elements(a) == h.size;
  const int32_t first =
      (h.flags & kSerial) ? Clamp(*Data<int32_t>(context, node, kStep), 0, h.steps - 1) : 0;
  const Tensors x = {Data<int8_t>(context, node, kU),
                     Data<int8_t>(context, node, kDelta),
                     Data<int8_t>(context, node, kA),
                     Data<int8_t>(context, node, kB),
                     Data<int8_t>(context, node, kC),
                     Data<int8_t>(context, node, kSkip),
                     Data<int8_t>(context, node, kZ),
                     GetTensorData<int8_t>(GetEvalOutput(context, node, kY)),
                     shared_a ? 0 : h.size,
                     first};
  if (h.state_bits == 8) {
    Invoke<int8_t>(context, node, options, x);
  } else {
    Invoke<int16_t>(context, node, options, x);
  }
  return kTfLiteOk;
}

}  // namespace

const TFLMRegistration* SelectiveScan() {
  static const TFLMRegistration registration = {nullptr, nullptr, Prepare, Invoke,
                                                nullptr, 32,      "SELECTIVE_SCAN"};
  return &registration;
}

}  // namespace refmicro

auto Register_SELECTIVE_SCAN() -> decltype(refmicro::SelectiveScan()) {
  return refmicro::SelectiveScan();
}

#ifdef REFMICRO_BRIDGE
extern "C" __attribute__((visibility("default"))) const void* RefmicroSelectiveScan() {
  return Register_SELECTIVE_SCAN();
}
#endif  // REFMICRO_BRIDGE
