// The C face of the real TensorFlow Lite Micro inside the `tflite-micro` wheel.
//
// One source: the C++ compiler reads this file through bridge.cc, and cffi parses the same text
// after the __cplusplus blocks and every other line that begins with '#' have been dropped. Keep
// it plain C declarations: no macros, no inline functions.
//
// A call that runs TFLM may abort the process when the model is bad. Run it in a child process.

#ifndef REFMICRO_BRIDGE_H_
#define REFMICRO_BRIDGE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rm_oracle rm_oracle;

enum rm_status {
  RM_OK = 0,
  RM_REFUSED = 1,     // TFLM returned an error: rm_log says why, in its own words.
  RM_USAGE = 2,       // The caller's mistake: rm_log says which.
  RM_OVERRUN = 3,     // TFLM wrote outside the arena it was given.
  RM_TRACE_FULL = 4   // The trace passed trace_bytes_max; the records are incomplete.
};

// The buckets of TFLM's recording allocator, in its own order
// (RecordedAllocationType in tensorflow/lite/micro/recording_micro_allocator.h).
enum rm_category {
  RM_EVAL_TENSORS = 0,
  RM_PERSISTENT_TENSORS = 1,
  RM_QUANTIZATION = 2,
  RM_PERSISTENT_BUFFERS = 3,
  RM_VARIABLES = 4,
  RM_NODES = 5,
  RM_OP_DATA = 6,
  RM_COMPRESSION = 7,
  RM_CATEGORY_COUNT = 8
};

// An operator that PythonOpsResolver does not know. `symbol` names a C function without arguments
// in the shared library at path `library`; it returns a pointer to a TFLMRegistration. With an empty
// name it replaces the built-in operator whose code the registration has.
typedef struct rm_custom_op {
  const char* name;
  const char* library;
  const char* symbol;
} rm_custom_op;

typedef struct rm_options {
  const uint8_t* model;  // copied, to storage aligned to 64 bytes
  size_t model_bytes;
  size_t arena_bytes;       // the arena starts on a page, hence on a multiple of 16
  size_t trace_bytes_max;   // of tensor data, for one invocation
  const rm_custom_op* custom_ops;
  size_t custom_op_count;
  int32_t resource_variables;  // slots of MicroResourceVariables; 0 makes no such object
  int32_t recording;           // RecordingMicroAllocator instead of MicroAllocator
  int32_t trace;               // see every operator's tensors
  int32_t arena_fill;          // the byte that fills the arena before TFLM gets it
  int32_t output_fill;         // with trace: the byte that fills each output before it is computed,
                               // where it shares no memory with another tensor of the operator; -1: none
} rm_options;

typedef struct rm_allocation {
  uint64_t requested_bytes;
  uint64_t used_bytes;
  uint64_t count;
} rm_allocation;

typedef struct rm_arena {
  uint64_t size_bytes;  // as given
  uint64_t used_bytes;  // MicroAllocator::used_bytes, what arena_used_bytes() says
  uint64_t head_bytes;
  uint64_t tail_bytes;
  rm_allocation categories[8];  // by rm_category; all zero unless recording
} rm_arena;

// A graph input or output. Pointers are valid until rm_destroy.
typedef struct rm_tensor {
  uint8_t* data;
  int64_t offset;  // from the start of the arena; -1 where the data lie elsewhere
  size_t bytes;
  const int32_t* dims;
  const float* scales;
  const int32_t* zero_points;
  int32_t rank;
  int32_t type;  // TfLiteType
  int32_t scale_count;
  int32_t zero_point_count;
  int32_t quantized_dimension;
  int32_t is_variable;
} rm_tensor;

// One evaluation of one operator. Records stand in the order in which evaluations began, so that
// WHILE precedes the operators of its body.
typedef struct rm_record {
  uint64_t first_slot;  // inputs, then outputs
  int32_t subgraph;
  int32_t operator_index;
  int32_t builtin_code;
  int32_t input_count;
  int32_t output_count;
  int32_t status;  // TfLiteStatus of eval; -1 if it did not return
  const char* custom_name;  // null for a builtin operator
} rm_record;

// One input or output of one evaluation. `before` and `after` are places in the trace's data,
// -1 where nothing was copied (a constant, an absent tensor). Where the evaluation left all bytes
// as they were, both are the same place. `before` of an output is what lay there: an operator may
// leave part of its output unwritten.
typedef struct rm_slot {
  int64_t offset;  // from the start of the arena; -1 where the data lie elsewhere
  int64_t before;
  int64_t after;
  uint64_t bytes;
  int32_t tensor;  // index in its subgraph; -1 for an absent optional input
  int32_t type;    // TfLiteType
  int32_t rank;
  int32_t dims[8];
} rm_slot;

// Where memory planning put a tensor that some operator of the model reads or writes.
typedef struct rm_place {
  int64_t offset;  // -1 where the data lie outside the arena (a constant)
  uint64_t bytes;
  int32_t subgraph;
  int32_t tensor;
} rm_place;

// By how much the persistent part of the arena grew, alignment included, while an operator's init
// and prepare ran.
typedef struct rm_operator {
  uint64_t init_bytes;
  uint64_t prepare_bytes;
  int32_t subgraph;
  int32_t operator_index;
} rm_operator;

// A scratch buffer that an operator's prepare asked for, in the order of the requests.
typedef struct rm_scratch {
  int64_t offset;
  uint64_t bytes;
  int32_t subgraph;
  int32_t operator_index;
} rm_scratch;

// Creates the objects and allocates the tensors. *oracle is set whatever the status, so that
// rm_log can be asked; it has to be destroyed in every case.
int32_t rm_create(const rm_options* options, rm_oracle** oracle);
void rm_destroy(rm_oracle* oracle);

int32_t rm_invoke(rm_oracle* oracle);
int32_t rm_reset(rm_oracle* oracle);

// What TFLM (or the bridge itself, for RM_USAGE) wrote during the last call above.
const char* rm_log(const rm_oracle* oracle);

size_t rm_input_count(const rm_oracle* oracle);
size_t rm_output_count(const rm_oracle* oracle);
int32_t rm_input(const rm_oracle* oracle, size_t index, rm_tensor* tensor);
int32_t rm_output(const rm_oracle* oracle, size_t index, rm_tensor* tensor);

void rm_measure_arena(const rm_oracle* oracle, rm_arena* arena);
// The arena's persistent part, structs of operators among it: where it starts, and its bytes; null
// before the tensors are allocated.
const uint8_t* rm_persistent(const rm_oracle* oracle, uint64_t* bytes);
// What PrintAllocations of the recording allocator writes; rm_log holds it afterwards.
int32_t rm_print_allocations(rm_oracle* oracle);

// With trace, after rm_create: the places of all tensors that operators touch, and what each
// operator took from the arena.
size_t rm_place_count(const rm_oracle* oracle);
const rm_place* rm_places(const rm_oracle* oracle);
size_t rm_operator_count(const rm_oracle* oracle);
const rm_operator* rm_operators(const rm_oracle* oracle);
size_t rm_scratch_count(const rm_oracle* oracle);
const rm_scratch* rm_scratches(const rm_oracle* oracle);

// With trace: the records of the last rm_invoke.
size_t rm_record_count(const rm_oracle* oracle);
const rm_record* rm_records(const rm_oracle* oracle);
size_t rm_slot_count(const rm_oracle* oracle);
const rm_slot* rm_slots(const rm_oracle* oracle);
size_t rm_trace_bytes(const rm_oracle* oracle);
const uint8_t* rm_trace_data(const rm_oracle* oracle);

// Sends a copy of everything TFLM writes to this file descriptor as it is written, so that it
// outlives an abort; -1 (the state at load) turns that off.
void rm_copy_log_to(int32_t file_descriptor);

// Checks that do not need a model: the resolver's virtual functions and the sizes of TFLM's
// objects against the storage set aside for them. Returns null, or what differs.
const char* rm_check_library(void);

#ifdef __cplusplus
}
#endif

#endif  // REFMICRO_BRIDGE_H_
