"""TFLite_Detection_PostProcess, a custom operator: the best boxes that do not overlap too much.

A box is decoded from its anchor (y, x, h, w):
    center = encoding / scale * anchor size + anchor center, half = 0.5 * exp(encoding / scale) *
    anchor size, each in double and rounded to float32; corners are center -+ half in float32.
Regular: in every class the boxes of the best scores, no two of which overlap by more than
`nms_iou_threshold`, at most `detections_per_class`; then the best `max_detections` of all classes.
Fast: the same once, with the best score of each box; every chosen box then gives its
`max_classes_per_detection` best classes.

Shapes: encodings (1, boxes, 4 or more), class scores (1, boxes, classes, or one more for the
background in front), anchors (boxes, 4); outputs boxes, classes, scores, number of detections.
Quantization: float32.
Scratch: boxes; 16 * boxes; 4 * boxes * classes; 4 * boxes twice; 4 * max * boxes twice; 4 * boxes;
4 * max * boxes; 4 * max(classes, max) * boxes; 4 * min(boxes, max) * boxes, with max the
`max_detections`.
Persistent: 112 bytes.
Differs: `exp` in double is the C library's here as there. Outputs that are not written are zero;
TFLM leaves what lies in the arena. Boxes without area in either direction are refused during the
run, as TFLM does. Class scores that are not numbers give no promised order. Scratch that is too
small, and outputs that are, are refused; TFLM would write past their end.
Source: `tensorflow/lite/micro/kernels/detection_postprocess.cc`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refmicro._jit import jit
from refmicro.errors import UsageError
from refmicro.ops._flexbuffer import FlexMap, read_map
from refmicro.ops._spec import EvalContext, OpData, OpSpec, PrepareContext
from refmicro.types import DType, Tensor

_DETECTIONS_PER_CLASS = 100


@dataclass(frozen=True)
class Detection:
    """Options, shapes and outputs."""

    boxes: int
    classes: int
    background: int
    max_detections: int
    classes_per_detection: int
    detections_per_class: int
    regular: bool
    score_threshold: np.float32
    overlap_threshold: np.float32
    scales: tuple[float, float, float, float]
    outputs: tuple[Tensor, ...]


def prepare(ctx: PrepareContext) -> Detection:
    """Check shapes, request scratch, then check what TFLM checks in each run."""
    ctx.require(len(ctx.node.inputs) == 3, "must have 3 inputs", len(ctx.node.inputs))
    encodings, scores, anchors = ctx.input(0), ctx.input(1), ctx.input(2)
    for what, tensor, rank in (
        ("box encodings", encodings, 3),
        ("class predictions", scores, 3),
        ("anchors", anchors, 2),
    ):
        ctx.require(
            len(tensor.shape) == rank, f"{what} must have {rank} dimensions", len(tensor.shape)
        )
    ctx.require(len(ctx.node.outputs) == 4, "must have 4 outputs", len(ctx.node.outputs))
    try:
        data = _options(read_map(ctx.node.custom_options), encodings, scores, ctx.node.outputs)
    except ValueError as error:
        ctx.refuse("options must be numbers", error, malformed=True)
    ctx.require(
        data.max_detections >= 0, "max_detections must not be negative", data.max_detections
    )
    _request_scratch(ctx, data, scores)
    _check_tensors(ctx, data, encodings, scores, anchors)
    _check_options(ctx, data)
    return data


def _options(
    options: FlexMap, encodings: Tensor, scores: Tensor, outputs: tuple[Tensor, ...]
) -> Detection:
    def single(key: str) -> np.float32:
        with np.errstate(over="ignore"):
            return np.float32(options.get(key) or 0)

    classes = options.whole("num_classes")
    return Detection(
        boxes=encodings.shape[1],
        classes=classes,
        background=scores.shape[2] - classes,
        max_detections=options.whole("max_detections"),
        classes_per_detection=options.whole("max_classes_per_detection"),
        detections_per_class=options.whole("detections_per_class", _DETECTIONS_PER_CLASS),
        regular=bool(options.get("use_regular_nms") or 0),
        score_threshold=single("nms_score_threshold"),
        overlap_threshold=single("nms_iou_threshold"),
        scales=tuple(float(single(f"{axis}_scale")) for axis in "yxhw"),
        outputs=outputs,
    )


def _request_scratch(ctx: PrepareContext, data: Detection, scores: Tensor) -> None:
    boxes, most = data.boxes, data.max_detections
    ctx.scratch(boxes)
    ctx.scratch(boxes * 16)
    ctx.scratch(scores.shape[1] * scores.shape[2] * 4)
    ctx.scratch(boxes * 4)
    ctx.scratch(boxes * 4)
    ctx.scratch(most * boxes * 4)
    ctx.scratch(most * boxes * 4)
    ctx.scratch(boxes * 4)
    ctx.scratch(most * boxes * 4)
    ctx.scratch(max(data.classes, most) * boxes * 4)
    ctx.scratch(min(boxes, most) * boxes * 4)


def _check_tensors(
    ctx: PrepareContext, data: Detection, encodings: Tensor, scores: Tensor, anchors: Tensor
) -> None:
    ctx.require(encodings.shape[0] == 1, "box encodings must have batch 1", encodings.shape[0])
    ctx.require(
        encodings.shape[2] >= 4, "box encodings must have 4 coordinates", encodings.shape[2]
    )
    ctx.require_type("box encodings", encodings, DType.FLOAT32)
    ctx.require(
        scores.shape[:2] == (1, data.boxes),
        f"class predictions must have shape [1, {data.boxes}, ...]",
        list(scores.shape),
    )
    ctx.require(
        data.background in (0, 1),
        f"class predictions must have {data.classes} classes or one more",
        scores.shape[2],
    )
    ctx.require_type("class predictions", scores, DType.FLOAT32)
    ctx.require_shape(
        anchors.dtype is DType.FLOAT32 and anchors.elements >= 4 * data.boxes,
        f"anchors must hold 4 float32 coordinates of {data.boxes} boxes",
        f"{anchors.dtype}{list(anchors.shape)}",
    )
    rows = data.max_detections if data.regular else 0
    for what, tensor, need in zip(
        ("boxes", "classes", "scores", "number"),
        data.outputs,
        (4 * rows, rows, rows, 1),
        strict=True,
    ):
        ctx.require_shape(
            tensor.dtype is DType.FLOAT32 and tensor.elements >= need,
            f"the output of {what} must hold {need} float32 values",
            f"{tensor.dtype}{list(tensor.shape)}",
        )


def _check_options(ctx: PrepareContext, data: Detection) -> None:
    overlap = float(data.overlap_threshold)
    ctx.require(0 < overlap <= 1, "nms_iou_threshold must be above 0 and at most 1", overlap)
    ctx.require_shape(data.classes > 0, "num_classes must be above 0", data.classes)
    if not data.regular:
        most = data.classes_per_detection
        ctx.require(most > 0, "max_classes_per_detection must be above 0", most)
    else:
        most = data.detections_per_class
        ctx.require(most > 0, "detections_per_class must be above 0", most)
    # What TFLM sorts must fit the scratch buffers it asked for, which are multiples of 16 bytes.
    chosen = min(data.boxes, data.detections_per_class)
    merged = chosen + (data.max_detections if data.classes > 1 else 0)
    need = max(data.boxes, merged if data.regular else 0)
    room = -(-data.max_detections * data.boxes // 4) * 4
    ctx.require_shape(
        need <= room, f"max_detections must give room for {need} boxes", f"room for {room}"
    )


def evaluate(ctx: EvalContext, data: Detection) -> None:
    """Decode all boxes, then choose."""
    encodings, scores, anchors = ctx.input(0), ctx.input(1), ctx.input(2)
    batch = max(encodings.shape[0], scores.shape[0], anchors.shape[0])
    boxes = np.empty((batch, data.boxes, 4), np.float32)
    _decode(
        np.broadcast_to(encodings[:, 0, :, :4], boxes.shape).astype(np.float64),
        np.broadcast_to(
            anchors.reshape(anchors.shape[0], -1)[:, : 4 * data.boxes].reshape(-1, data.boxes, 4),
            boxes.shape,
        ).astype(np.float64),
        np.array(data.scales),
        boxes,
    )
    if (boxes[..., :2] >= boxes[..., 2:]).any():
        raise UsageError(
            "TFLite_Detection_PostProcess must get boxes of some height and width",
            hint="TFLM returns an error from Invoke",
        )
    scores = np.broadcast_to(scores[:, 0, :, data.background :], (batch, data.boxes, data.classes))
    choose = _regular if data.regular else _fast
    found = choose(data, np.ascontiguousarray(scores), boxes)
    for index, (tensor, values) in enumerate(zip(data.outputs, found, strict=True)):
        ctx.set_output(index, values.reshape(batch, *tensor.shape))


@jit
def _decode(encodings, anchors, scales, boxes):
    """Corners (top, left, bottom, right); encodings and anchors as double (y, x, h, w)."""
    for n in range(boxes.shape[0]):
        for i in range(boxes.shape[1]):
            for axis in range(2):
                size = anchors[n, i, 2 + axis]
                center = np.float32(
                    encodings[n, i, axis] / scales[axis] * size + anchors[n, i, axis]
                )
                grown = math.exp(encodings[n, i, 2 + axis] / scales[2 + axis])
                half = np.float32(0.5 * grown * size)
                boxes[n, i, axis] = center - half
                boxes[n, i, 2 + axis] = center + half


def _ranked(data: Detection, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes from the best score down, equal ones in order, and how many reach the threshold."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return order, (scores >= data.score_threshold).sum(1)


@jit
def _suppress(boxes, order, kept, threshold, limit, selected, counts):
    """Of the ranked boxes choose at most `limit`, none overlapping a better chosen one too much."""
    zero = np.float32(0)
    for n in range(boxes.shape[0]):
        count = 0
        for rank in range(kept[n]):
            if count >= limit:
                break
            j = order[n, rank]
            area_j = (boxes[n, j, 2] - boxes[n, j, 0]) * (boxes[n, j, 3] - boxes[n, j, 1])
            good = True
            for k in range(count):
                i = selected[n, k]
                area_i = (boxes[n, i, 2] - boxes[n, i, 0]) * (boxes[n, i, 3] - boxes[n, i, 1])
                if area_i <= zero or area_j <= zero:
                    continue
                height = min(boxes[n, i, 2], boxes[n, j, 2]) - max(boxes[n, i, 0], boxes[n, j, 0])
                width = min(boxes[n, i, 3], boxes[n, j, 3]) - max(boxes[n, i, 1], boxes[n, j, 1])
                both = max(height, zero) * max(width, zero)
                if both / (area_i + area_j - both) > threshold:
                    good = False
                    break
            if good:
                selected[n, count] = j
                count += 1
        counts[n] = count


def _chosen(
    data: Detection, scores: np.ndarray, boxes: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the chosen boxes of each row, best first, and how many there are."""
    order, kept = _ranked(data, scores)
    selected = np.zeros((len(boxes), max(1, min(limit, data.boxes))), np.int64)
    counts = np.zeros(len(boxes), np.int64)
    _suppress(boxes, order, kept, data.overlap_threshold, limit, selected, counts)
    return selected, counts


def _outputs(data: Detection, batch: int) -> list[np.ndarray]:
    """Zeros for every output, boxes in fours."""
    sizes = [tensor.elements for tensor in data.outputs]
    shapes = [(sizes[0] // 4 * 4,), (sizes[1],), (sizes[2],), (sizes[3],)]
    return [np.zeros((batch, *shape), np.float32) for shape in shapes]


def _regular(data: Detection, scores: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    """Each class by itself, then the best of all, classes in order where scores are equal."""
    batch = len(boxes)
    best = np.zeros((batch, data.max_detections), np.float32)
    places = np.zeros((batch, data.max_detections, 2), np.int64)
    sizes = np.zeros(batch, np.int64)
    for number in range(data.classes):
        class_scores = np.ascontiguousarray(scores[:, :, number])
        selected, counts = _chosen(data, class_scores, boxes, data.detections_per_class)
        _merge(best, places, sizes, class_scores, selected, counts, number)
    out = _outputs(data, batch)
    rows = np.arange(data.max_detections)[None] < sizes[:, None]
    corners = np.take_along_axis(boxes, places[:, :, :1], axis=1)
    out[0][:, : 4 * data.max_detections] = np.where(rows[:, :, None], corners, 0).reshape(batch, -1)
    out[1][:, : data.max_detections] = np.where(rows, places[:, :, 1], 0)
    out[2][:, : data.max_detections] = np.where(rows, best, 0)
    out[3][:, 0] = sizes
    return out


@jit
def _merge(best, places, sizes, scores, selected, counts, number):
    """Merge the chosen boxes of one class into the best so far; both lists are sorted."""
    most = best.shape[1]
    for n in range(best.shape[0]):
        old_best, old_places = best[n].copy(), places[n].copy()
        old, new, count = 0, 0, 0
        while count < most and (old < sizes[n] or new < counts[n]):
            box = selected[n, min(new, selected.shape[1] - 1)]
            take_old = old < sizes[n] and (new >= counts[n] or old_best[old] >= scores[n, box])
            if take_old:
                best[n, count] = old_best[old]
                places[n, count, 0] = old_places[old, 0]
                places[n, count, 1] = old_places[old, 1]
                old += 1
            else:
                best[n, count] = scores[n, box]
                places[n, count, 0] = box
                places[n, count, 1] = number
                new += 1
            count += 1
        sizes[n] = count


def _fast(data: Detection, scores: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    """Once with every box's best score; each box then gives several classes."""
    batch, each = len(boxes), min(data.classes_per_detection, data.classes)
    ranks = np.argsort(-scores, axis=2, kind="stable")[:, :, :each]
    ranked = np.take_along_axis(scores, ranks, axis=2)
    best = np.ascontiguousarray(ranked[:, :, 0])
    selected, counts = _chosen(data, best, boxes, data.max_detections)
    out = _outputs(data, batch)
    # TFLM counts on after every class, so that rows stay empty where there are several.
    written = int(counts.max()) * each
    need = (written - 1) * each + each if written else 0
    room = min(out[0].shape[1] // 4, out[1].shape[1], out[2].shape[1])
    if need > room:
        raise UsageError(
            f"TFLite_Detection_PostProcess outputs must hold {need} rows: {room}",
            hint="TFLM would write past their end",
        )
    _spread(boxes, ranks, ranked, selected, counts, out[0], out[1], out[2])
    out[3][:, 0] = counts * each
    return out


@jit
def _spread(boxes, ranks, ranked, selected, counts, corners, classes, scores):
    """Write every chosen box once for each of its classes."""
    each = ranks.shape[2]
    for n in range(boxes.shape[0]):
        for i in range(counts[n]):
            box = selected[n, i]
            for k in range(each):
                row = each * (i * each + k) + k
                for axis in range(4):
                    corners[n, 4 * row + axis] = boxes[n, box, axis]
                classes[n, row] = ranks[n, box, k]
                scores[n, row] = ranked[n, box, k]


OP = OpSpec("TFLite_Detection_PostProcess", prepare, evaluate, OpData(lp64=112, ilp32=112))
