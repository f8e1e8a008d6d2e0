// The C face (bridge.h) over the C++ symbols that the wheel's _runtime.so exports.
//
// Nothing of TFLM is included. The namespace below declares the few functions that are called and
// the few structures that are read, each with the file of TFLM that defines it; the layouts are
// facts of the pinned wheel (64-bit, TF_LITE_STATIC_MEMORY, USE_TFLM_COMPRESSION) and the Python
// side proves them on a small model before the bridge is used (src/refmicro/_bridge_check.py).

#pragma GCC visibility push(default)
#include "bridge.h"
#pragma GCC visibility pop

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace tflite {

struct Model;     // flatbuffer tables; only their addresses pass through here
struct Operator;  // tensorflow/lite/schema/schema_generated.h
struct Tensor;
enum BuiltinOperator : int32_t { BuiltinOperator_ADD = 0, BuiltinOperator_CUSTOM = 32 };

uint32_t NumSubgraphOperators(const Model* model, int subgraph);  // micro/flatbuffer_utils.h

namespace micro {

// tensorflow/lite/core/c/common.h, as compiled with TF_LITE_STATIC_MEMORY
enum TfLiteStatus : int32_t { kTfLiteOk = 0, kTfLiteError = 1 };
struct TfLiteContext;
struct TfLiteIntArray {
  int32_t size;
  int32_t data[1];
};
struct TfLiteFloatArray {
  int32_t size;
  float data[1];
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
struct TfLiteEvalTensor {
  uint8_t* data;
  const TfLiteIntArray* dims;
  int32_t type;
};
struct TfLiteAffineQuantization {
  const TfLiteFloatArray* scale;
  const TfLiteIntArray* zero_point;
  int32_t quantized_dimension;
};
struct TfLiteTensor {
  int32_t quantization_type;  // 1 is kTfLiteAffineQuantization
  const TfLiteAffineQuantization* quantization;
  float scale;
  int32_t zero_point;
  uint8_t* data;
  const TfLiteIntArray* dims;
  size_t bytes;
  int32_t type;
  int32_t allocation_type;
  bool is_variable;
};

// tensorflow/lite/micro/micro_common.h
struct TFLMRegistration {
  void* (*init)(TfLiteContext*, const char*, size_t);
  void (*free)(TfLiteContext*, void*);
  TfLiteStatus (*prepare)(TfLiteContext*, TfLiteNode*);
  TfLiteStatus (*invoke)(TfLiteContext*, TfLiteNode*);
  void (*reset)(TfLiteContext*, void*);
  int32_t builtin_code;
  const char* custom_name;
};

// tensorflow/lite/micro/micro_allocator.h: a node is followed by its registration
struct NodeAndRegistration {
  TfLiteNode node;
  const TFLMRegistration* registration;
};

static_assert(sizeof(TfLiteEvalTensor) == 24, "TfLiteEvalTensor");
static_assert(sizeof(TfLiteTensor) == 64, "TfLiteTensor");
static_assert(sizeof(TFLMRegistration) == 56, "TFLMRegistration");
static_assert(sizeof(NodeAndRegistration) == 64, "NodeAndRegistration");

// tensorflow/lite/micro/kernels/kernel_util.h and micro_utils.h
const TfLiteEvalTensor* GetEvalInput(const TfLiteContext*, const TfLiteNode*, int index);
TfLiteEvalTensor* GetEvalOutput(const TfLiteContext*, const TfLiteNode*, int index);
TfLiteStatus TfLiteEvalTensorByteLength(const TfLiteEvalTensor*, size_t* bytes);

// In the wheel's build a TfLiteContext holds nothing but the address of the MicroContext, an object
// with virtual functions (micro/micro_context.h).
struct MicroContext {
  const void* const* virtual_table;
};
struct TfLiteContext {
  MicroContext* implementation;
};
void* MicroContextGetScratchBuffer(TfLiteContext*, int index);

// tensorflow/lite/micro/micro_op_resolver.h: the order of the virtual functions matters
using Parser = void (*)();
class MicroOpResolver {
 public:
  virtual const TFLMRegistration* FindOp(BuiltinOperator op) const = 0;
  virtual const TFLMRegistration* FindOp(const char* op) const = 0;
  virtual Parser GetOpDataParser(BuiltinOperator op) const = 0;
  virtual ~MicroOpResolver() = default;
};

// tensorflow/lite/micro/arena_allocator/single_arena_buffer_allocator.h; there these two are
// virtual, here they are called by name
class SingleArenaBufferAllocator {
 public:
  size_t GetNonPersistentUsedBytes() const;
  size_t GetPersistentUsedBytes() const;
};
class RecordingSingleArenaBufferAllocator : public SingleArenaBufferAllocator {};

enum class MemoryPlannerType : int32_t { kGreedy, kLinear };
class MicroAllocator {
 public:
  static MicroAllocator* Create(uint8_t* arena, size_t bytes, MemoryPlannerType);
  size_t used_bytes() const;
};

// tensorflow/lite/micro/recording_micro_allocator.h
enum class RecordedAllocationType : int32_t {};
struct RecordedAllocation {
  size_t requested_bytes;
  size_t used_bytes;
  size_t count;
};
class RecordingMicroAllocator : public MicroAllocator {
 public:
  static RecordingMicroAllocator* Create(uint8_t* arena, size_t bytes);
  RecordedAllocation GetRecordedAllocation(RecordedAllocationType) const;
  const RecordingSingleArenaBufferAllocator* GetSimpleMemoryAllocator() const;
  void PrintAllocations() const;
};

// tensorflow/lite/micro/micro_resource_variable.h
class MicroResourceVariables {
 public:
  static MicroResourceVariables* Create(MicroAllocator*, int count);
};

class MicroProfilerInterface;

// tensorflow/lite/micro/micro_interpreter.h; the object is larger than this declaration and is
// constructed in storage of kInterpreterBytes
class MicroInterpreter {
 public:
  MicroInterpreter(const Model*, const MicroOpResolver&, MicroAllocator*, MicroResourceVariables*,
                   MicroProfilerInterface*);
  ~MicroInterpreter();
  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
  TfLiteStatus Reset();
  TfLiteTensor* input(size_t index);
  TfLiteTensor* output(size_t index);
};

}  // namespace micro

// python/tflite_micro/python_ops_resolver.h; derived from MicroOpResolver, constructed in storage
class PythonOpsResolver {
 public:
  PythonOpsResolver();
};

}  // namespace tflite

// Virtual tables, whose addresses identify objects, and one virtual function.
extern "C" const void* const single_arena_vtable[] __asm__(
    "_ZTVN6tflite5micro26SingleArenaBufferAllocatorE");
extern "C" const void* const interpreter_context_vtable[] __asm__(
    "_ZTVN6tflite5micro23MicroInterpreterContextE");
extern "C" tflite::micro::TfLiteStatus RequestScratchBuffer(
    tflite::micro::MicroContext*, size_t bytes, int* index) __asm__(
    "_ZN6tflite5micro23MicroInterpreterContext27RequestScratchBufferInArenaEmPi");

namespace {

using tflite::BuiltinOperator;
using tflite::Model;
using namespace tflite::micro;

constexpr size_t kInterpreterBytes = 4096;  // the object takes 408 or a little more
constexpr size_t kResolverBytes = 65536;    // 200 registrations and parsers, about 14 KiB
constexpr size_t kContextVirtuals = 28;     // virtual functions of MicroInterpreterContext
constexpr size_t kVirtualTableHead = 2;     // words before the function an object points to
constexpr size_t kModelAlignment = 64;
constexpr size_t kPageBytes = 4096;
constexpr int kStoragePattern = 0xA5;
constexpr int kCanary = 0xC9;

// Everything TFLM writes goes through vfprintf(stderr, ...) (tensorflow/lite/micro/debug_log.cc).
// While a Listener lives, the C library's stderr is a stream that collects the text instead.
std::mutex tflm_mutex;
std::string* listener_text = nullptr;
int copy_descriptor = -1;

ssize_t CollectText(void*, const char* text, size_t bytes) {
  if (listener_text != nullptr) listener_text->append(text, bytes);
  for (size_t done = 0; copy_descriptor >= 0 && done < bytes;) {
    const ssize_t written = write(copy_descriptor, text + done, bytes - done);
    if (written <= 0) break;
    done += static_cast<size_t>(written);
  }
  return static_cast<ssize_t>(bytes);
}

FILE* CollectingStream() {
  static FILE* const stream = [] {
    FILE* const opened = fopencookie(nullptr, "w", {nullptr, CollectText, nullptr, nullptr});
    if (opened != nullptr) setvbuf(opened, nullptr, _IONBF, 0);
    return opened;
  }();
  return stream;
}

class Listener {
 public:
  explicit Listener(std::string* text) : lock_(tflm_mutex), old_stderr_(stderr) {
    text->clear();
    listener_text = text;
    if (CollectingStream() != nullptr) stderr = CollectingStream();
  }
  ~Listener() {
    stderr = old_stderr_;
    listener_text = nullptr;
  }

 private:
  std::lock_guard<std::mutex> lock_;
  FILE* const old_stderr_;
};

bool HoldsOnly(const uint8_t* bytes, size_t count, int value) {
  for (size_t i = 0; i < count; ++i) {
    if (bytes[i] != value) return false;
  }
  return true;
}

// An arena that starts on a page, with a page of canary bytes before and at least one behind, and
// inaccessible pages beyond those: small overruns are noticed, large ones stop the process.
class Arena {
 public:
  Arena(size_t bytes, int fill) : bytes_(bytes) {
    mapped_bytes_ = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes + 4 * kPageBytes;
    void* const mapped = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) return;
    mapped_ = static_cast<uint8_t*>(mapped);
    mprotect(mapped_, kPageBytes, PROT_NONE);
    mprotect(mapped_ + mapped_bytes_ - kPageBytes, kPageBytes, PROT_NONE);
    memset(mapped_ + kPageBytes, kCanary, kPageBytes);
    memset(end(), kCanary, tail_canary_bytes());
    if (fill != 0) memset(start(), fill, bytes);
  }
  ~Arena() {
    if (mapped_ != nullptr) munmap(mapped_, mapped_bytes_);
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  bool valid() const { return mapped_ != nullptr; }
  uint8_t* start() const { return mapped_ + 2 * kPageBytes; }
  uint8_t* end() const { return start() + bytes_; }
  size_t bytes() const { return bytes_; }
  bool Intact() const {
    return HoldsOnly(mapped_ + kPageBytes, kPageBytes, kCanary) &&
           HoldsOnly(end(), tail_canary_bytes(), kCanary);
  }
  int64_t OffsetOf(const void* pointer) const {
    const uint8_t* const byte = static_cast<const uint8_t*>(pointer);
    return byte >= start() && byte < end() ? byte - start() : -1;
  }

 private:
  size_t tail_canary_bytes() const {
    return static_cast<size_t>(mapped_ + mapped_bytes_ - kPageBytes - end());
  }
  size_t bytes_;
  size_t mapped_bytes_ = 0;
  uint8_t* mapped_ = nullptr;
};

const MicroOpResolver& WheelResolver() {
  alignas(64) static uint8_t storage[kResolverBytes];
  static const tflite::PythonOpsResolver* const resolver = [] {
    memset(storage, kStoragePattern, sizeof(storage));
    return new (storage) tflite::PythonOpsResolver();
  }();
  return *reinterpret_cast<const MicroOpResolver*>(resolver);
}

bool ResolverFitsItsStorage() {
  const uint8_t* const storage = reinterpret_cast<const uint8_t*>(&WheelResolver());
  return HoldsOnly(storage + kResolverBytes / 2, kResolverBytes / 2, kStoragePattern);
}

struct TensorKey {
  int32_t subgraph;
  int32_t tensor;
  bool operator<(const TensorKey& other) const {
    return std::make_pair(subgraph, tensor) < std::make_pair(other.subgraph, other.tensor);
  }
};

struct Tracer;

// A copy of a registration whose prepare and invoke are ours. There is one for each operator of
// the model, so that the registration beside a node tells which operator is running.
struct TracedOperator {
  TFLMRegistration registration;  // first: TFLM's pointer to it is a pointer to this object
  const TFLMRegistration* original;
  Tracer* tracer;
  rm_operator facts;
};

struct ScratchRequest {
  rm_scratch facts;
  int index;
};

struct Tracer {
  const Arena* arena = nullptr;
  const uint8_t* model = nullptr;
  size_t model_bytes = 0;
  size_t trace_bytes_max = 0;
  int32_t output_fill = -1;
  bool full = false;
  const SingleArenaBufferAllocator* allocator = nullptr;
  TfLiteContext* context = nullptr;
  std::vector<const void*> context_virtuals;
  size_t initialised = 0;  // operators whose init has been called
  std::vector<ScratchRequest> requests;
  std::vector<rm_operator> operator_facts;
  std::vector<rm_scratch> scratches;
  std::deque<TracedOperator> operators;
  std::map<TensorKey, const TfLiteEvalTensor*> tensors;
  std::vector<rm_place> places;
  std::vector<rm_record> records;
  std::vector<rm_slot> slots;
  std::vector<uint8_t> data;

  size_t PersistentBytes() const {
    return allocator == nullptr ? 0 : allocator->GetPersistentUsedBytes();
  }

  void Clear() {
    full = false;
    records.clear();
    slots.clear();
    data.clear();
  }

  int64_t Copy(const uint8_t* bytes, size_t count) {
    if (data.size() + count > trace_bytes_max) {
      full = true;
      return -1;
    }
    const size_t place = data.size();
    data.insert(data.end(), bytes, bytes + count);
    return static_cast<int64_t>(place);
  }

  // Whether a tensor's bytes are kept: it exists, has a place, and is no constant of the model.
  bool IsTraced(const TfLiteEvalTensor* tensor) const {
    return tensor != nullptr && tensor->data != nullptr &&
           !(tensor->data >= model && tensor->data < model + model_bytes);
  }
};

size_t ByteLength(const TfLiteEvalTensor* tensor) {
  size_t bytes = 0;
  return TfLiteEvalTensorByteLength(tensor, &bytes) == kTfLiteOk ? bytes : 0;
}

int32_t Length(const TfLiteIntArray* array) { return array == nullptr ? 0 : array->size; }

// The tensor of an input or, behind the inputs, an output of a node; null where there is none.
const TfLiteEvalTensor* SlotTensor(const TfLiteContext* context, const TfLiteNode* node,
                                   int32_t slot, int32_t* index) {
  const int32_t input_count = Length(node->inputs);
  const bool is_input = slot < input_count;
  const int32_t within = is_input ? slot : slot - input_count;
  *index = (is_input ? node->inputs : node->outputs)->data[within];
  if (*index < 0) return nullptr;
  return is_input ? GetEvalInput(context, node, within) : GetEvalOutput(context, node, within);
}

TracedOperator* OperatorOf(TfLiteNode* node) {
  const NodeAndRegistration* const pair = reinterpret_cast<const NodeAndRegistration*>(node);
  return const_cast<TracedOperator*>(
      reinterpret_cast<const TracedOperator*>(pair->registration));
}

// The operator whose init or prepare is running; TFLM runs one at a time, under tflm_mutex.
TracedOperator* running_operator = nullptr;

// Init gets no node, but operators are initialised in the order in which they were found.
Tracer* initialising_tracer = nullptr;

void* TracedInit(TfLiteContext* context, const char* buffer, size_t length) {
  Tracer* const tracer = initialising_tracer;
  TracedOperator& op = tracer->operators[tracer->initialised++];
  if (op.original->init == nullptr) return nullptr;
  const size_t before = tracer->PersistentBytes();
  void* const data = op.original->init(context, buffer, length);
  op.facts.init_bytes = tracer->PersistentBytes() - before;
  return data;
}

TfLiteStatus TracedScratchRequest(MicroContext* context, size_t bytes, int* index) {
  const TfLiteStatus status = RequestScratchBuffer(context, bytes, index);
  const TracedOperator* const op = running_operator;
  if (status == kTfLiteOk && op != nullptr) {
    op->tracer->requests.push_back(
        {{-1, bytes, op->facts.subgraph, op->facts.operator_index}, *index});
  }
  return status;
}

// Gives the context a copy of its virtual table in which requests for scratch buffers are ours.
void WatchScratchRequests(TfLiteContext* context, Tracer* tracer) {
  tracer->context = context;
  MicroContext* const object = context->implementation;
  const void* const* const table = interpreter_context_vtable;
  if (object->virtual_table != table + kVirtualTableHead) return;
  tracer->context_virtuals.assign(table, table + kVirtualTableHead + kContextVirtuals);
  for (const void*& function : tracer->context_virtuals) {
    if (function == reinterpret_cast<const void*>(RequestScratchBuffer)) {
      function = reinterpret_cast<const void*>(TracedScratchRequest);
    }
  }
  object->virtual_table = tracer->context_virtuals.data() + kVirtualTableHead;
}

TfLiteStatus TracedPrepare(TfLiteContext* context, TfLiteNode* node) {
  TracedOperator* const op = OperatorOf(node);
  Tracer* const tracer = op->tracer;
  if (tracer->context == nullptr) WatchScratchRequests(context, tracer);
  const int32_t slot_count = Length(node->inputs) + Length(node->outputs);
  for (int32_t slot = 0; slot < slot_count; ++slot) {
    int32_t index;
    const TfLiteEvalTensor* const tensor = SlotTensor(context, node, slot, &index);
    if (tensor != nullptr) tracer->tensors[{op->facts.subgraph, index}] = tensor;
  }
  if (op->original->prepare == nullptr) return kTfLiteOk;
  running_operator = op;
  const size_t before = tracer->PersistentBytes();
  const TfLiteStatus status = op->original->prepare(context, node);
  op->facts.prepare_bytes = tracer->PersistentBytes() - before;
  running_operator = nullptr;
  return status;
}

rm_slot DescribeSlot(const Tracer& tracer, const TfLiteEvalTensor* tensor, int32_t index) {
  rm_slot slot = {};
  slot.offset = slot.before = slot.after = -1;
  slot.tensor = tensor == nullptr ? -1 : index;
  if (tensor == nullptr) return slot;
  slot.offset = tracer.arena->OffsetOf(tensor->data);
  slot.bytes = ByteLength(tensor);
  slot.type = tensor->type;
  slot.rank = Length(tensor->dims);
  for (int32_t i = 0; i < slot.rank && i < 8; ++i) slot.dims[i] = tensor->dims->data[i];
  return slot;
}

// The tensor is looked up again: VAR_HANDLE points its output elsewhere during eval.
void CopyAfter(Tracer* tracer, size_t place, const TfLiteEvalTensor* tensor) {
  if (!tracer->IsTraced(tensor)) return;
  rm_slot& slot = tracer->slots[place];
  slot.offset = tracer->arena->OffsetOf(tensor->data);
  const bool unchanged =
      slot.before >= 0 && memcmp(tracer->data.data() + slot.before, tensor->data, slot.bytes) == 0;
  slot.after = unchanged ? slot.before : tracer->Copy(tensor->data, slot.bytes);
}

// What an operator leaves unwritten shows as bytes that depend on the fill. Outputs in place, and
// variables, which lie beyond the planned head, keep what they hold.
void FillOutputs(const Tracer& tracer, TfLiteContext* context, TfLiteNode* node,
                 size_t first_slot, int32_t input_count, int32_t slot_count) {
  const rm_slot* const slots = tracer.slots.data() + first_slot;
  const int64_t head = static_cast<int64_t>(tracer.allocator->GetNonPersistentUsedBytes());
  int32_t index;
  for (int32_t i = input_count; i < slot_count; ++i) {
    const int64_t start = slots[i].offset, end = start + slots[i].bytes;
    bool alone = slots[i].before >= 0 && start >= 0 && end <= head;
    for (int32_t j = 0; j < slot_count; ++j) {
      const bool apart = slots[j].offset < 0 || slots[j].offset >= end ||
                         slots[j].offset + slots[j].bytes <= start;
      alone = alone && (i == j || apart);
    }
    if (!alone) continue;
    memset(SlotTensor(context, node, i, &index)->data, tracer.output_fill, slots[i].bytes);
  }
}

TfLiteStatus TracedInvoke(TfLiteContext* context, TfLiteNode* node) {
  const TracedOperator* const op = OperatorOf(node);
  Tracer* const tracer = op->tracer;
  const size_t first_slot = tracer->slots.size();
  const size_t record_place = tracer->records.size();
  const int32_t input_count = Length(node->inputs);
  const int32_t slot_count = input_count + Length(node->outputs);
  tracer->records.push_back({first_slot, op->facts.subgraph, op->facts.operator_index,
                             op->original->builtin_code, input_count,
                             slot_count - input_count, -1, op->registration.custom_name});
  int32_t index;
  for (int32_t i = 0; i < slot_count; ++i) {
    const TfLiteEvalTensor* const tensor = SlotTensor(context, node, i, &index);
    rm_slot slot = DescribeSlot(*tracer, tensor, index);
    if (tracer->IsTraced(tensor)) slot.before = tracer->Copy(tensor->data, slot.bytes);
    tracer->slots.push_back(slot);
  }
  if (tracer->output_fill >= 0) {
    FillOutputs(*tracer, context, node, first_slot, input_count, slot_count);
  }
  const TfLiteStatus status = op->original->invoke(context, node);
  for (int32_t i = 0; i < slot_count; ++i) {
    CopyAfter(tracer, first_slot + i, SlotTensor(context, node, i, &index));
  }
  tracer->records[record_place].status = status;
  return status;
}

// Asked once for each operator of the model, subgraph by subgraph, in order
// (MicroInterpreter::PrepareNodeAndRegistrationDataFromFlatbuffer).
class BridgeResolver : public MicroOpResolver {
 public:
  BridgeResolver(const Model* model, Tracer* tracer, bool trace)
      : model_(model), tracer_(tracer), trace_(trace) {}

  void AddCustom(const char* name, const TFLMRegistration* registration) {
    TFLMRegistration copy = *registration;
    copy.builtin_code = tflite::BuiltinOperator_CUSTOM;
    auto added = custom_.emplace(name, copy).first;
    added->second.custom_name = added->first.c_str();
  }
  // A registration without a name takes the place of the built-in operator that it says.
  void Replace(const TFLMRegistration* registration) {
    replaced_[registration->builtin_code] = *registration;
  }
  const TFLMRegistration* FindOp(BuiltinOperator op) const override {
    const auto found = replaced_.find(op);
    return Traced(found != replaced_.end() ? &found->second : WheelResolver().FindOp(op));
  }
  const TFLMRegistration* FindOp(const char* op) const override {
    const auto found = custom_.find(op);
    return Traced(found != custom_.end() ? &found->second : WheelResolver().FindOp(op));
  }
  Parser GetOpDataParser(BuiltinOperator op) const override {
    return WheelResolver().GetOpDataParser(op);
  }

 private:
  const TFLMRegistration* Traced(const TFLMRegistration* found) const {
    if (found == nullptr || !trace_) return found;
    while (next_operator_ >= tflite::NumSubgraphOperators(model_, next_subgraph_)) {
      ++next_subgraph_;
      next_operator_ = 0;
    }
    TFLMRegistration copy = *found;
    copy.init = TracedInit;
    copy.prepare = TracedPrepare;
    copy.invoke = TracedInvoke;
    const int32_t index = static_cast<int32_t>(next_operator_++);
    tracer_->operators.push_back({copy, found, tracer_, {0, 0, next_subgraph_, index}});
    return &tracer_->operators.back().registration;
  }

  const Model* const model_;
  Tracer* const tracer_;
  const bool trace_;
  std::map<std::string, TFLMRegistration> custom_;
  std::map<int32_t, TFLMRegistration> replaced_;
  mutable int32_t next_subgraph_ = 0;
  mutable uint32_t next_operator_ = 0;
};

using CustomOpFunction = const TFLMRegistration* (*)();

}  // namespace

struct rm_oracle {
  rm_oracle(size_t arena_bytes, int fill) : arena(arena_bytes, fill) {}
  ~rm_oracle() {
    if (interpreter != nullptr) interpreter->~MicroInterpreter();
    for (void* library : libraries) dlclose(library);
    free(model);
    delete resolver;
  }

  Arena arena;
  std::string log;
  uint8_t* model = nullptr;
  BridgeResolver* resolver = nullptr;
  std::vector<void*> libraries;
  Tracer tracer;
  MicroAllocator* allocator = nullptr;
  RecordingMicroAllocator* recording = nullptr;
  // Set once the tensors are allocated. Before that the destructor must not run: it follows
  // registration pointers that a refusal may have left unset.
  MicroInterpreter* interpreter = nullptr;
  std::vector<TfLiteTensor*> inputs;
  std::vector<TfLiteTensor*> outputs;
  alignas(64) uint8_t interpreter_storage[kInterpreterBytes];
};

namespace {

int32_t Usage(rm_oracle* oracle, const std::string& message) {
  oracle->log = message;
  return RM_USAGE;
}

int32_t LoadCustomOps(const rm_options& options, rm_oracle* oracle) {
  for (size_t i = 0; i < options.custom_op_count; ++i) {
    const rm_custom_op& op = options.custom_ops[i];
    void* const library = dlopen(op.library, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return Usage(oracle, dlerror());
    oracle->libraries.push_back(library);
    void* const symbol = dlsym(library, op.symbol);
    if (symbol == nullptr) return Usage(oracle, dlerror());
    const TFLMRegistration* const registration =
        reinterpret_cast<CustomOpFunction>(symbol)();
    if (registration == nullptr) {
      return Usage(oracle, std::string(op.symbol) + " returned no registration");
    }
    if (*op.name == '\0') {
      oracle->resolver->Replace(registration);
    } else {
      oracle->resolver->AddCustom(op.name, registration);
    }
  }
  return RM_OK;
}

// The count of graph inputs or outputs: TFLM's accessor returns null behind the last one.
template <typename Accessor>
std::vector<TfLiteTensor*> CollectTensors(Accessor accessor) {
  std::vector<TfLiteTensor*> tensors;
  while (TfLiteTensor* const tensor = accessor(tensors.size())) tensors.push_back(tensor);
  return tensors;
}

void CollectFacts(rm_oracle* oracle) {
  Tracer& tracer = oracle->tracer;
  for (const auto& [key, tensor] : tracer.tensors) {
    tracer.places.push_back({oracle->arena.OffsetOf(tensor->data), ByteLength(tensor),
                             key.subgraph, key.tensor});
  }
  for (const TracedOperator& op : tracer.operators) tracer.operator_facts.push_back(op.facts);
  for (ScratchRequest request : tracer.requests) {
    const void* const place = MicroContextGetScratchBuffer(tracer.context, request.index);
    request.facts.offset = oracle->arena.OffsetOf(place);
    tracer.scratches.push_back(request.facts);
  }
}

// Without the recording allocator nothing hands out the arena's allocator, but it is the first
// object in the tail: look for its virtual table from the end.
const SingleArenaBufferAllocator* FindArenaAllocator(const rm_oracle* oracle) {
  if (oracle->recording != nullptr) return oracle->recording->GetSimpleMemoryAllocator();
  const void* const identity = single_arena_vtable + kVirtualTableHead;
  const uintptr_t end = reinterpret_cast<uintptr_t>(oracle->arena.end()) & ~uintptr_t{7};
  for (uintptr_t place = end - 8; place > end - 256; place -= 8) {
    if (*reinterpret_cast<const void* const*>(place) == identity) {
      return reinterpret_cast<const SingleArenaBufferAllocator*>(place);
    }
  }
  return nullptr;
}

void CreateAllocator(const rm_options& options, rm_oracle* oracle) {
  const Arena& arena = oracle->arena;
  if (options.recording) {
    oracle->recording = RecordingMicroAllocator::Create(arena.start(), arena.bytes());
    oracle->allocator = oracle->recording;
  } else {
    oracle->allocator =
        MicroAllocator::Create(arena.start(), arena.bytes(), MemoryPlannerType::kGreedy);
  }
  oracle->tracer.allocator = FindArenaAllocator(oracle);
}

int32_t AllocateTensors(const rm_options& options, rm_oracle* oracle) {
  CreateAllocator(options, oracle);
  MicroResourceVariables* const variables =
      options.resource_variables > 0
          ? MicroResourceVariables::Create(oracle->allocator, options.resource_variables)
          : nullptr;
  // GetModel of a flatbuffer: the root table is where the first offset points.
  uint32_t root;
  memcpy(&root, oracle->model, sizeof(root));
  const Model* const model = reinterpret_cast<const Model*>(oracle->model + root);
  oracle->resolver = new BridgeResolver(model, &oracle->tracer, options.trace != 0);
  if (const int32_t status = LoadCustomOps(options, oracle)) return status;

  uint8_t* const storage = oracle->interpreter_storage;
  memset(storage, kStoragePattern, kInterpreterBytes);
  MicroInterpreter* const interpreter = new (storage)
      MicroInterpreter(model, *oracle->resolver, oracle->allocator, variables, nullptr);
  if (!HoldsOnly(storage + kInterpreterBytes / 2, kInterpreterBytes / 2, kStoragePattern)) {
    return Usage(oracle, "MicroInterpreter is larger than declared");
  }
  initialising_tracer = &oracle->tracer;
  if (interpreter->AllocateTensors() != kTfLiteOk) return RM_REFUSED;
  oracle->interpreter = interpreter;
  std::string saved = oracle->log;
  oracle->inputs = CollectTensors([=](size_t i) { return interpreter->input(i); });
  oracle->outputs = CollectTensors([=](size_t i) { return interpreter->output(i); });
  oracle->log = saved;  // without what the accessors wrote at their ends
  CollectFacts(oracle);
  return RM_OK;
}

int32_t Finished(rm_oracle* oracle, int32_t status) {
  if (!oracle->arena.Intact()) return RM_OVERRUN;
  return status == RM_OK && oracle->tracer.full ? RM_TRACE_FULL : status;
}

int32_t DescribeTensor(const rm_oracle* oracle, const std::vector<TfLiteTensor*>& tensors,
                       size_t index, rm_tensor* out) {
  if (index >= tensors.size()) return RM_USAGE;
  const TfLiteTensor& tensor = *tensors[index];
  *out = {};
  out->data = tensor.data;
  out->offset = oracle->arena.OffsetOf(tensor.data);
  out->bytes = tensor.bytes;
  out->rank = Length(tensor.dims);
  out->dims = tensor.dims == nullptr ? nullptr : tensor.dims->data;
  out->type = tensor.type;
  out->is_variable = tensor.is_variable;
  const TfLiteAffineQuantization* const affine =
      tensor.quantization_type == 1 ? tensor.quantization : nullptr;
  if (affine != nullptr && affine->scale != nullptr) {
    out->scales = affine->scale->data;
    out->scale_count = affine->scale->size;
  }
  if (affine != nullptr && affine->zero_point != nullptr) {
    out->zero_points = affine->zero_point->data;
    out->zero_point_count = affine->zero_point->size;
  }
  if (affine != nullptr) out->quantized_dimension = affine->quantized_dimension;
  return RM_OK;
}

}  // namespace

extern "C" {

int32_t rm_create(const rm_options* options, rm_oracle** out) {
  rm_oracle* const oracle = new rm_oracle(options->arena_bytes, options->arena_fill);
  *out = oracle;
  if (!oracle->arena.valid()) return Usage(oracle, "no memory for the arena");
  if (options->model_bytes < 8) return Usage(oracle, "the model is shorter than 8 bytes");
  const size_t rounded =
      (options->model_bytes + kModelAlignment - 1) / kModelAlignment * kModelAlignment;
  oracle->model = static_cast<uint8_t*>(aligned_alloc(kModelAlignment, rounded));
  if (oracle->model == nullptr) return Usage(oracle, "no memory for the model");
  memcpy(oracle->model, options->model, options->model_bytes);
  oracle->tracer.arena = &oracle->arena;
  oracle->tracer.model = oracle->model;
  oracle->tracer.model_bytes = options->model_bytes;
  oracle->tracer.trace_bytes_max = options->trace_bytes_max;
  oracle->tracer.output_fill = options->output_fill;
  Listener listener(&oracle->log);
  return Finished(oracle, AllocateTensors(*options, oracle));
}

void rm_destroy(rm_oracle* oracle) { delete oracle; }

int32_t rm_invoke(rm_oracle* oracle) {
  if (oracle->interpreter == nullptr) return Usage(oracle, "no tensors are allocated");
  oracle->tracer.Clear();
  Listener listener(&oracle->log);
  const bool ok = oracle->interpreter->Invoke() == kTfLiteOk;
  return Finished(oracle, ok ? RM_OK : RM_REFUSED);
}

int32_t rm_reset(rm_oracle* oracle) {
  if (oracle->interpreter == nullptr) return Usage(oracle, "no tensors are allocated");
  Listener listener(&oracle->log);
  const bool ok = oracle->interpreter->Reset() == kTfLiteOk;
  return Finished(oracle, ok ? RM_OK : RM_REFUSED);
}

const char* rm_log(const rm_oracle* oracle) { return oracle->log.c_str(); }

size_t rm_input_count(const rm_oracle* oracle) { return oracle->inputs.size(); }
size_t rm_output_count(const rm_oracle* oracle) { return oracle->outputs.size(); }

int32_t rm_input(const rm_oracle* oracle, size_t index, rm_tensor* tensor) {
  return DescribeTensor(oracle, oracle->inputs, index, tensor);
}

int32_t rm_output(const rm_oracle* oracle, size_t index, rm_tensor* tensor) {
  return DescribeTensor(oracle, oracle->outputs, index, tensor);
}

void rm_measure_arena(const rm_oracle* oracle, rm_arena* arena) {
  *arena = {};
  arena->size_bytes = oracle->arena.bytes();
  if (oracle->interpreter == nullptr) return;
  arena->used_bytes = oracle->allocator->used_bytes();
  const SingleArenaBufferAllocator* const allocator = oracle->tracer.allocator;
  if (allocator != nullptr) {
    arena->head_bytes = allocator->GetNonPersistentUsedBytes();
    arena->tail_bytes = allocator->GetPersistentUsedBytes();
  }
  for (int32_t i = 0; oracle->recording != nullptr && i < RM_CATEGORY_COUNT; ++i) {
    const RecordedAllocation recorded =
        oracle->recording->GetRecordedAllocation(static_cast<RecordedAllocationType>(i));
    arena->categories[i] = {recorded.requested_bytes, recorded.used_bytes, recorded.count};
  }
}

const uint8_t* rm_persistent(const rm_oracle* oracle, uint64_t* bytes) {
  rm_arena arena;
  rm_measure_arena(oracle, &arena);
  *bytes = arena.tail_bytes;
  return arena.tail_bytes == 0 ? nullptr : oracle->arena.end() - arena.tail_bytes;
}

int32_t rm_print_allocations(rm_oracle* oracle) {
  if (oracle->interpreter == nullptr || oracle->recording == nullptr) {
    return Usage(oracle, "nothing was recorded");
  }
  Listener listener(&oracle->log);
  oracle->recording->PrintAllocations();
  return RM_OK;
}

size_t rm_place_count(const rm_oracle* oracle) { return oracle->tracer.places.size(); }
const rm_place* rm_places(const rm_oracle* oracle) { return oracle->tracer.places.data(); }
size_t rm_operator_count(const rm_oracle* oracle) {
  return oracle->tracer.operator_facts.size();
}
const rm_operator* rm_operators(const rm_oracle* oracle) {
  return oracle->tracer.operator_facts.data();
}
size_t rm_scratch_count(const rm_oracle* oracle) { return oracle->tracer.scratches.size(); }
const rm_scratch* rm_scratches(const rm_oracle* oracle) { return oracle->tracer.scratches.data(); }
size_t rm_record_count(const rm_oracle* oracle) { return oracle->tracer.records.size(); }
const rm_record* rm_records(const rm_oracle* oracle) { return oracle->tracer.records.data(); }
size_t rm_slot_count(const rm_oracle* oracle) { return oracle->tracer.slots.size(); }
const rm_slot* rm_slots(const rm_oracle* oracle) { return oracle->tracer.slots.data(); }
size_t rm_trace_bytes(const rm_oracle* oracle) { return oracle->tracer.data.size(); }
const uint8_t* rm_trace_data(const rm_oracle* oracle) { return oracle->tracer.data.data(); }

void rm_copy_log_to(int32_t file_descriptor) { copy_descriptor = file_descriptor; }

const char* rm_check_library(void) {
  if (CollectingStream() == nullptr) return "the C library has no fopencookie";
  const MicroOpResolver& resolver = WheelResolver();
  if (!ResolverFitsItsStorage()) return "PythonOpsResolver is larger than declared";
  const TFLMRegistration* const add = resolver.FindOp(tflite::BuiltinOperator_ADD);
  if (add == nullptr || add->builtin_code != tflite::BuiltinOperator_ADD ||
      add->prepare == nullptr || add->invoke == nullptr) {
    return "PythonOpsResolver does not find ADD";
  }
  if (resolver.GetOpDataParser(tflite::BuiltinOperator_ADD) == nullptr) {
    return "PythonOpsResolver has no parser for ADD";
  }
  if (resolver.FindOp("no such operator") != nullptr) {
    return "PythonOpsResolver finds an operator that does not exist";
  }
  return nullptr;
}

}  // extern "C"
