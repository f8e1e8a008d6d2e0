"""The counts of an estimate: how often subgraphs run, totals, the peak, the value itself."""

import copy
import dataclasses
import json

import pytest

from refmicro import estimate
from refmicro.errors import UnsupportedError, UsageError
from refmicro.model.reader import read_model
from refmicro.types import DType
from tests.models import ALL
from tests.ops.graphs import model, op, subgraph
from tests.ops.harness import tensor
from tests.test_trip_count import loop

PLANNED = ["hello_world_int8", "micro_speech_quantized", "g_elu_while_int8", "u2_split_int8_reord"]


def value(dtype=DType.FLOAT32):
    return tensor(dtype, (1,))


def floor(x, y):
    return op("FLOOR", [x], [y])


def leaf():
    x, y = value(), value()
    return subgraph([x], [y], [floor(x, y)])


def executions(report):
    return {row["subgraph"]: row["executions"] for row in report.operators}


def test_both_branches_count_once():
    flag, x, y = value(DType.BOOL), value(), value()
    options = {"then_subgraph_index": 1, "else_subgraph_index": 2}
    main = subgraph([flag, x], [y], [op("IF", [flag, x], [y], options)])
    assert executions(estimate(model(main, leaf(), leaf()))) == {0: 1, 1: 1, 2: 1}
    options["else_subgraph_index"] = 1
    main = subgraph([flag, x], [y], [op("IF", [flag, x], [y], options)])
    assert executions(estimate(model(main, leaf()))) == {0: 1, 1: 2}


@pytest.mark.parametrize(("start", "trips"), [(0, 5), (9, 0)])
def test_loops_count_the_condition_once_more(start, trips):
    report = estimate(loop(start, 1, "LESS", 5))
    assert executions(report) == {0: 1, 1: trips + 1, 2: trips}


def test_unknown_loops_are_marked_and_count_once_in_totals():
    main, *others = loop(None, 1, "LESS", 5).subgraphs
    report = estimate(model(dataclasses.replace(main, inputs=(0,)), *others))
    assert executions(report) == {0: 1, 1: None, 2: None}
    assert report.read_bytes == sum(row["read_bytes"] for row in report.operators)


@pytest.mark.parametrize("name", PLANNED)
@pytest.mark.parametrize("abi", ["ilp32", "lp64"])
def test_totals_are_the_sums_of_rows(name, abi):
    report = estimate(ALL[name], abi=abi)
    for key in ("macs", "read_bytes", "written_bytes"):
        assert report[key] == sum(row[key] * row["executions"] for row in report.operators)
    arena = report.arena
    assert arena["required_bytes"] % 16 == 0
    assert arena["required_bytes"] >= arena["used_bytes"]
    used = sum(item["used_bytes"] for item in arena["categories"].values())
    assert used <= arena["tail_bytes"]


@pytest.mark.parametrize("name", PLANNED)
def test_peak_is_the_most_that_lives_at_one_time(name):
    report = estimate(ALL[name])
    peak = report.peak
    assert peak["live_bytes"] == report.arena["lower_bound_bytes"]
    assert peak["live_bytes"] >= max(row["live_bytes"] for row in report.operators)
    # TFLM plans in units of 16 bytes.
    aligned = sum(-(-t["bytes"] // 16) * 16 for t in peak["tensors"]) + peak["scratch_bytes"]
    assert peak["live_bytes"] == aligned
    sizes = [tensor["bytes"] for tensor in peak["tensors"]]
    assert sizes == sorted(sizes, reverse=True)


def test_planned_tensors_that_live_together_lie_apart():
    planned = [t for t in estimate(ALL["person_detect"]).tensors if t["offset"] is not None]
    for number, a in enumerate(planned):
        for b in planned[:number]:
            apart_in_time = (
                a["last_time_used"] < b["first_time_used"]
                or b["last_time_used"] < a["first_time_used"]
            )
            apart_in_place = (
                a["offset"] + a["bytes"] <= b["offset"] or b["offset"] + b["bytes"] <= a["offset"]
            )
            assert apart_in_time or apart_in_place


def test_a_model_in_memory_and_a_file_are_equal():
    path = ALL["hello_world_int8"]
    from_file, from_model = estimate(path).to_dict(), estimate(read_model(path)).to_dict()
    assert from_file["model"].pop("path") == str(path)
    assert from_model["model"].pop("path") == ""
    assert from_file == from_model


def test_a_report_is_a_value():
    report = estimate(ALL["hello_world_int8"])
    before = json.dumps(report.to_dict())
    report.arena["used_bytes"] = 0
    report.to_dict()["macs"] = -1
    report["operators"].clear()
    assert json.dumps(report.to_dict()) == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.macs = 1
    with pytest.raises(AttributeError, match="no field 'size'"):
        _ = report.size
    assert copy.deepcopy(report) == report
    assert "1,072 B of arena" in repr(report)
    assert len(repr(report)) < 300


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"abi": "arm"}, "ABI"),
        ({"kernels": "fast"}, "kernels"),
        ({"abi": "lp64", "kernels": "cmsis-nn"}, "reference kernels"),
        ({"resource_variables": -1}, "resource variables"),
        ({"resource_variables": 1 << 20}, "resource variables"),
    ],
)
def test_wrong_arguments(options, word):
    with pytest.raises(UsageError, match=word):
        estimate(ALL["hello_world_int8"], **options)


def test_every_refused_operator_is_listed():
    x, y, z = (value(DType.INT8) for _ in range(3))
    one = model(subgraph([x], [z], [op("EXP", [x], [y]), op("FLOOR", [y], [z])]))
    with pytest.raises(UnsupportedError) as error:
        estimate(one)
    first, second = error.value.problems
    assert "operator 0 (EXP)" in first
    assert "operator 1 (FLOOR)" in second


def test_more_resource_variables_take_more():
    small, large = (
        estimate(ALL["g_elu_resvar_int8"], resource_variables=n).arena["used_bytes"]
        for n in (16, 32)
    )
    assert large > small
