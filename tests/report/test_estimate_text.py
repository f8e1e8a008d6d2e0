"""The estimate for the terminal: every figure of the document, names as they are."""

import pytest

from refmicro import estimate
from refmicro.report.estimate_text import OPERATORS_SHOWN, PHASES, print_report
from tests.models import ALL


def printed(capsys, document):
    print_report(document)
    return capsys.readouterr().out


def document_of(name, **options):
    return estimate(ALL[name], **options).to_dict()


def test_totals_are_the_documents(capsys):
    document = document_of("hello_world_int8")
    text = printed(capsys, document)
    for name in ("required_bytes", "used_bytes", "head_bytes", "tail_bytes"):
        assert f"{document['arena'][name]:,} B" in text
    assert f"{document['flash']['model_bytes']:,} B" in text
    assert "3 operators in 1 subgraph, for a Cortex-M firmware (ilp32)" in text
    assert "64-bit wheel (lp64)" in printed(capsys, document_of("hello_world_int8", abi="lp64"))


def test_every_operator_has_a_row(capsys):
    document = document_of("micro_speech_quantized")
    lines = printed(capsys, document).splitlines()
    for row in document["operators"]:
        start = f"{row['subgraph']}:{row['index']} {row['name']}"
        (line,) = [line for line in lines if line.startswith(start)]
        assert f"{row['live_bytes']:,}" in line


def test_long_models_show_the_largest(capsys):
    document = document_of("u2_split_int8")
    text = printed(capsys, document)
    count = len(document["operators"])
    assert f"the {OPERATORS_SHOWN} of {count} operators with most live bytes" in text
    rows = text.split("most live bytes")[1].splitlines()
    assert sum(line[:2] == "0:" for line in rows) == OPERATORS_SHOWN
    peak = max(document["operators"], key=lambda row: row["live_bytes"])
    assert any(line.startswith(f"0:{peak['index']} {peak['name']}") for line in rows)


@pytest.mark.parametrize("name", ["[/bold]", "[red]x[/red]", "a:smile:b", "[link=x]y"])
def test_names_are_no_markup(capsys, name):
    document = document_of("hello_world_int8")
    for tensor in document["peak"]["tensors"]:
        tensor["name"] = name
    document["operators"][0]["name"] = name
    document["model"]["path"] = name
    assert printed(capsys, document).count(name) == 2 + len(document["peak"]["tensors"])


def test_unknown_trip_counts_are_marked(capsys):
    document = document_of("hello_world_int8")
    document["operators"][0]["executions"] = None
    (line,) = [x for x in printed(capsys, document).splitlines() if x.startswith("0:0 ")]
    assert line.split()[2] == "?"


def test_verdicts(capsys):
    document = document_of("hello_world_int8")
    document["budget"] = [
        {"what": "arena", "needs": 1072, "limit": 1000, "of": "--budget", "fits": False},
        {"what": "flash", "needs": 2704, "limit": 65536, "of": "a board", "fits": True},
    ]
    lines = printed(capsys, document).splitlines()
    assert "arena of --budget: 1,072 of 1,000, too large" in lines
    assert "flash of a board: 2,704 of 65,536, fits" in lines


@pytest.mark.parametrize("name", ["hello_world_int8", "person_detect", "g_elu_resvar_int8"])
def test_the_decisive_phase_has_words(name):
    assert document_of(name)["arena"]["required_by"]["phase"] in PHASES
