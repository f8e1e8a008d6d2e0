"""TFLite_Detection_PostProcess against the real TFLM."""

import numpy as np
import pytest
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st

from refmicro.bridge import oracle_run
from refmicro.errors import InvalidModelError, UsageError
from refmicro.interpreter import Interpreter
from refmicro.model.writer import write_model
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle

SCALES = {"y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0}


def model(boxes, classes, *, rows=None, coordinates=4, background=1, types=None, **options):
    """A detection over `boxes` anchors; `rows` of room in the outputs."""
    settings = {
        "max_detections": 4,
        "max_classes_per_detection": 1,
        "nms_score_threshold": 0.2,
        "nms_iou_threshold": 0.5,
        "num_classes": classes,
        **SCALES,
        **options,
    }
    rows = settings["max_detections"] if rows is None else rows
    kinds = types or {}
    shapes = {
        "encodings": (1, boxes, coordinates),
        "scores": (1, boxes, classes + background),
        "anchors": (boxes, 4),
        "boxes": (1, rows, 4),
        "classes": (1, rows),
        "best": (1, rows),
        "number": (1,),
        **kinds.pop("shapes", {}),
    }
    tensors = [tensor(kinds.get(name, DType.FLOAT32), shape) for name, shape in shapes.items()]
    return model_of(
        "TFLite_Detection_PostProcess",
        tensors[:3],
        tensors[3:],
        custom=True,
        custom_options=bytes(flexbuffers.Dumps(settings)),
    )


def values(built, rows, rng, levels=None):
    """Encodings, scores and anchors of boxes that overlap now and then."""
    encodings, scores, anchors = (built.subgraphs[0].tensors[i].shape for i in range(3))
    score = rng.random((rows, *scores), np.float32)
    if levels:
        score = (np.floor(score * levels) / levels).astype(np.float32)
    centers = rng.random((rows, anchors[0], 2), np.float32) * 2
    sizes = rng.random((rows, anchors[0], 2), np.float32) + np.float32(0.3)
    return [
        rng.normal(0, 2, (rows, *encodings)).astype(np.float32),
        score,
        np.concatenate([centers, sizes], axis=2),
    ]


def same(built, inputs, *, each=1):
    """Both sides agree on all that TFLM writes; the rest of its outputs is left as it was."""
    data = write_model(built)
    result = oracle_run(data, [[array[row] for array in inputs] for row in range(len(inputs[0]))])
    assert result.refused is None
    mine = Interpreter.from_bytes(data).invoke_batch(inputs)
    for row, want in enumerate(result.outputs):
        number = int(want[3].reshape(-1)[0])
        assert mine[3][row].tobytes() == want[3].tobytes()
        written = [each * index + index % each for index in range(number)]
        for got, wanted in zip(mine[:3], want[:3], strict=True):
            width = 4 if wanted.ndim == 3 else 1
            rows = got[row].reshape(-1, width)[written], wanted.reshape(-1, width)[written]
            assert rows[0].tobytes() == rows[1].tobytes()
    return mine


@given(
    st.integers(1, 30),
    st.integers(1, 4),
    st.integers(2, 8),
    st.integers(4, 6),
    st.integers(0, 1),
    st.sampled_from([None, 2, 5]),
    st.integers(0, 99),
)
def test_fast(boxes, classes, most, coordinates, background, levels, seed):
    built = model(
        boxes, classes, coordinates=coordinates, background=background, max_detections=most
    )
    same(built, values(built, 4, np.random.default_rng(seed), levels))


@pytest.mark.parametrize("each", [2, 3])
def test_fast_with_several_classes(each):
    built = model(12, 5, max_classes_per_detection=each, rows=4 * each * each)
    mine = same(built, values(built, 5, np.random.default_rng(1)), each=each)
    assert mine[3].max() > each


@given(
    st.integers(1, 30),
    st.integers(1, 4),
    st.integers(3, 8),
    st.sampled_from([1, 3, 100]),
    st.sampled_from([None, 2, 5]),
    st.integers(0, 99),
)
def test_regular(boxes, classes, most, per_class, levels, seed):
    built = model(
        boxes,
        classes,
        max_detections=most,
        use_regular_nms=True,
        detections_per_class=per_class,
    )
    # Every row is written here, so that whole outputs and the arena are compared.
    if min(boxes, per_class) + most <= most * boxes:
        inputs = values(built, 4, np.random.default_rng(seed), levels)
        compare(built, inputs, expect="run")


def test_constant_anchors():
    rng = np.random.default_rng(2)
    built = model(6, 2, use_regular_nms=True)
    encodings, scores, anchors = values(built, 3, rng)
    graph = built.subgraphs[0]
    fixed = tensor(DType.FLOAT32, (6, 4), data=anchors[0])
    inputs = [graph.tensors[0], graph.tensors[1], fixed]
    op = graph.operators[0]
    fixed_model = model_of(
        op.name,
        inputs,
        [graph.tensors[i] for i in op.outputs],
        custom=True,
        custom_options=op.custom_options,
    )
    compare(fixed_model, [encodings, scores], expect="run")


def test_flat_boxes_are_refused_during_the_run():
    built = model(2, 1)
    inputs = [np.zeros((1, 1, 2, 4), np.float32), np.ones((1, 1, 2, 2), np.float32)]
    anchors = np.zeros((1, 2, 4), np.float32)
    with pytest.raises(UsageError, match="height and width"):
        Interpreter(built).invoke_batch([*inputs, anchors])
    result = oracle_run(write_model(built), [[inputs[0][0], inputs[1][0], anchors[0]]])
    assert "invoke" in result.refused


@pytest.mark.parametrize(
    "refused",
    [
        model(4, 2, nms_iou_threshold=0.0),
        model(4, 2, nms_iou_threshold=1.5),
        model(4, 2, max_classes_per_detection=0),
        model(4, 2, use_regular_nms=True, detections_per_class=0),
        model(4, 2, background=2),
        model(4, 2, background=-1),
        model(4, 2, coordinates=3),
        model(4, 2, types={"encodings": DType.INT8}),
        model(4, 2, types={"scores": DType.INT8}),
        model(4, 2, types={"shapes": {"scores": (1, 3, 3)}}),
        model(4, 2, types={"shapes": {"encodings": (2, 4, 4)}}),
        model(4, 2, types={"shapes": {"anchors": (16,)}}),
    ],
    ids=[
        "overlap 0",
        "overlap 1.5",
        "no classes of a box",
        "no boxes of a class",
        "two backgrounds",
        "a class missing",
        "3 coordinates",
        "int8 encodings",
        "int8 scores",
        "boxes differ",
        "batch",
        "flat anchors",
    ],
)
def test_refused(refused):
    inputs = [refused.subgraphs[0].tensors[i] for i in range(3)]
    ones = [np.ones((1, *t.shape), t.dtype.numpy) for t in inputs]
    compare(refused, ones, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model(4, 2, types={"shapes": {"anchors": (3, 4)}}),
        model(4, 2, rows=3, use_regular_nms=True),
        model(4, 2, max_detections=0, rows=1),
        model(4, 0),
    ],
    ids=["anchors", "room in the outputs", "no room to sort", "no classes"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="TFLite_Detection_PostProcess"):
        prepare_model(broken, TflmBuild())


def test_room_for_rows_of_several_classes():
    built = model(6, 3, max_classes_per_detection=2)
    with pytest.raises(UsageError, match="outputs must hold"):
        Interpreter(built).invoke_batch(values(built, 1, np.random.default_rng(0)))
