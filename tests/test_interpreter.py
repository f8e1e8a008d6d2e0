"""The interpreter's calls: single, batch, stream, state, trace, and what it refuses."""

import numpy as np
import pytest

from refmicro import Interpreter
from refmicro.errors import InvalidModelError, UsageError
from tests.models import ALL, GOLDEN

STATEFUL = ["g_elu_inplacevar_int8", "g_elu_resvar_int8"]


def interpreter_of(name):
    return Interpreter.from_file(ALL[name])


def golden(name):
    folder = GOLDEN / "models" / name
    inputs, outputs = np.load(folder / "inputs.npz"), np.load(folder / "outputs.npz")
    return [inputs[str(i)] for i in range(len(inputs))], outputs["0"]


@pytest.fixture
def hello():
    return interpreter_of("hello_world_int8")


def test_from_bytes_is_from_file(hello):
    other = Interpreter.from_bytes(ALL["hello_world_int8"].read_bytes())
    x = np.arange(-128, 128, dtype=np.int8).reshape(256, 1, 1)
    assert (hello.invoke_batch([x])[0] == other.invoke_batch([x])[0]).all()


def test_batch_equals_single(hello):
    x = np.arange(-128, 128, dtype=np.int8).reshape(256, 1, 1)
    (together,) = hello.invoke_batch([x])
    for row, want in zip(x, together, strict=True):
        hello.set_input(row)
        hello.invoke()
        assert (hello.get_output() == want).all()


def test_details(hello):
    details = hello.get_input_details(0)
    assert (details.dtype, details.shape, details.zero_point) == (np.int8, (1, 1), -128)
    assert hello.get_output_details().shape == (1, 1)
    assert (hello.input_count, hello.output_count) == (1, 1)


def test_inputs_and_outputs_are_copies(hello):
    x = np.zeros((1, 1), np.int8)
    hello.set_input(x)
    x[:] = 99
    hello.invoke()
    want = hello.get_output()
    hello.get_output()[:] = 77
    assert (hello.get_output() == want).all()
    hello.set_input(np.zeros((1, 1), np.int8))
    hello.invoke()
    assert (hello.get_output() == want).all()


@pytest.mark.parametrize("name", STATEFUL)
def test_state_is_carried_and_reset(name):
    """Streams that TFLM recorded, step by step, twice, with a reset between."""
    inputs, want = golden(name)
    interpreter = interpreter_of(name)
    for stream in (0, 1, 0):
        interpreter.reset()
        for step in range(want.shape[1]):
            for index, array in enumerate(inputs):
                interpreter.set_input(array[stream, step], index)
            interpreter.invoke()
            assert (interpreter.get_output() == want[stream, step]).all()


@pytest.mark.parametrize("name", STATEFUL)
def test_threads_change_no_value(name, monkeypatch):
    monkeypatch.setattr("refmicro.interpreter.THREAD_WORK", 1)
    interpreter = interpreter_of(name)
    inputs, _ = golden(name)
    many = [array.reshape(-1, *array.shape[2:])[:21] for array in inputs]
    want = interpreter.invoke_batch(many)
    for threads in (2, 3, 50):
        got = interpreter.invoke_batch(many, threads=threads)
        assert [a.tobytes() for a in got] == [a.tobytes() for a in want]
    with pytest.raises(UsageError, match="at least one thread"):
        interpreter.invoke_batch(many, threads=0)


def test_parts_are_of_one_size_and_worth_a_thread(monkeypatch):
    interpreter = interpreter_of("person_detect")
    most = interpreter.chunk_rows
    assert interpreter._chunk(most, 1) == most
    assert interpreter._chunk(most + 1, 1) == most // 2 + 1
    assert interpreter._chunk(most + 1, 2) == most // 2 + 1
    assert interpreter._chunk(12, 3) == 4
    assert interpreter._chunk(0, 2) == 1
    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor", None)
    hello = interpreter_of("hello_world_int8")
    hello.invoke_batch([np.zeros((256, 1, 1), np.int8)], threads=2)
    with pytest.raises(TypeError):
        interpreter.invoke_batch([np.zeros((32, 1, 96, 96, 1), np.int8)], threads=2)


@pytest.mark.parametrize("name", STATEFUL)
def test_batch_starts_every_row_anew_and_leaves_the_state_alone(name):
    inputs, want = golden(name)
    interpreter = interpreter_of(name)
    first = [array[:, 0] for array in inputs]
    for index, array in enumerate(inputs):
        interpreter.set_input(array[0, 0], index)
    interpreter.invoke()
    assert (interpreter.invoke_batch(first)[0] == want[:, 0]).all()
    assert (interpreter.invoke_sequence(inputs)[0] == want).all()
    for index, array in enumerate(inputs):
        interpreter.set_input(array[0, 1], index)
    interpreter.invoke()
    assert (interpreter.get_output() == want[0, 1]).all()


@pytest.mark.parametrize("name", STATEFUL)
def test_one_stream_or_many(name):
    inputs, want = golden(name)
    one = interpreter_of(name).invoke_sequence([array[2] for array in inputs])
    assert (one[0] == want[2]).all()


def test_trace_sees_every_operator_and_the_inputs(hello):
    seen = []
    x = np.full((3, 1, 1), 5, np.int8)
    (y,) = hello.invoke_batch([x], lambda graph, op, values: seen.append((graph, op, values)))
    graph = hello.program.model.subgraphs[0]
    assert [(s, o) for s, o, _ in seen] == [(0, n) for n in range(-1, len(graph.operators))]
    assert (seen[0][2][graph.inputs[0]] == x).all()
    assert (seen[-1][2][graph.outputs[0]] == y).all()


def test_trace_sees_every_trip_of_a_loop():
    name = "g_elu_while_int8"
    inputs, _ = golden(name)
    trips = []
    interpreter_of(name).invoke_batch(
        [array[:1] for array in inputs], lambda graph, op, values: trips.append((graph, op))
    )
    assert trips.count((1, -1)) == 50
    assert trips.count((2, -1)) == 49


def test_no_rows(hello):
    (y,) = hello.invoke_batch([np.zeros((0, 1, 1), np.int8)])
    assert (y.shape, y.dtype) == ((0, 1, 1), np.int8)
    (y,) = hello.invoke_sequence([np.zeros((0, 1, 1), np.int8)])
    assert y.shape == (0, 1, 1)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda i: i.get_output(), "nothing was invoked yet"),
        (lambda i: i.set_input(np.zeros((1, 1), np.float32)), "must be int8[1, 1]: got float32"),
        (lambda i: i.set_input(np.zeros((2, 1), np.int8)), "got int8[2, 1]"),
        (lambda i: i.set_input(np.zeros((1, 1), np.int8), 1), "must be a number below 1: 1"),
        (lambda i: i.set_input(np.zeros((1, 1), np.int8), -1), "must be a number below 1: -1"),
        (lambda i: i.get_output_details(3), "output index must be a number below 1: 3"),
        (lambda i: i.invoke_batch([]), "got 0"),
        (lambda i: i.invoke_batch([np.zeros((1, 1), np.int8)]), "int8[N, 1, 1]: got int8[1, 1]"),
        (lambda i: i.invoke_batch([np.int8(1)]), "got int8[1]"),
        (lambda i: i.invoke_sequence([np.zeros((4, 2), np.int8)]), "got int8[4, 2]"),
        (lambda i: i.invoke_sequence([]), "got 0"),
    ],
)
def test_wrong_calls_say_what_was_wanted(hello, call, word):
    with pytest.raises(UsageError) as error:
        call(hello)
    assert word in error.value.message


def test_rows_must_agree():
    interpreter = interpreter_of("s_elu_scan_int8")
    details = [interpreter.get_input_details(i) for i in range(interpreter.input_count)]
    arrays = [np.zeros((2 + (i == 1), *d.shape), d.dtype) for i, d in enumerate(details)]
    with pytest.raises(UsageError, match=r"same number of rows: \[2, 3\]"):
        interpreter.invoke_batch(arrays)
    with pytest.raises(UsageError, match="same number of steps"):
        interpreter.invoke_sequence(arrays)


def test_damaged_and_missing_files():
    with pytest.raises(InvalidModelError):
        Interpreter.from_bytes(b"")
    with pytest.raises(UsageError, match="cannot read"):
        Interpreter.from_file("nowhere.tflite")


def test_details_read_like_the_wheels_dictionary():
    interpreter = Interpreter.from_file(ALL["hello_world_int8"], arena_size=5000)
    details = interpreter.get_input_details(0)
    assert details["dtype"] is np.int8
    assert details["shape"].tolist() == [1, 1]
    parameters = details["quantization_parameters"]
    assert parameters["zero_points"].tolist() == [details.zero_point]
    assert parameters["scales"].dtype == np.float32
    assert parameters["quantized_dimension"] == 0
