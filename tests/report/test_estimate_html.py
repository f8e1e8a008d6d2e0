"""The estimate as a page: well formed, alone, true to the document, safe against names."""

from html.parser import HTMLParser

import pytest

from refmicro import estimate
from refmicro.report.estimate_html import fragment, page
from tests.models import ALL

VOID = {"meta", "rect", "line"}


class Checker(HTMLParser):
    """Collects elements, and fails where they are not nested well."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.text = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID or (tag == "rect" and not self.get_starttag_text().endswith("/>")):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.seen if name == tag]


def document_of(name):
    return estimate(ALL[name]).to_dict()


@pytest.mark.parametrize("name", ["hello_world_int8", "g_elu_while_int8", "person_detect"])
def test_page_is_well_formed_and_complete(name):
    document = document_of(name)
    checker = Checker(page(document))
    planned = [t for t in document["tensors"] if t["offset"] is not None and t["bytes"]]
    assert len(checker.named("rect")) == len(planned)
    text = "".join(checker.text)
    for row in document["operators"]:
        assert f"{row['subgraph']}:{row['index']} {row['name']}" in text
    assert f"{document['arena']['required_bytes']:,}" in text
    assert not checker.named("script")
    assert not checker.named("link")


def test_boxes_lie_inside_the_picture():
    checker = Checker(page(document_of("person_detect")))
    (svg,) = checker.named("svg")
    _, _, width, height = map(float, svg["viewbox"].split())
    for box in checker.named("rect"):
        x, y = float(box["x"]), float(box["y"])
        assert x >= 0
        assert x + float(box["width"]) <= width + 0.01
        assert y >= -0.01
        assert y + float(box["height"]) <= height
        assert float(box["width"]) > 0


def test_names_are_text():
    document = document_of("hello_world_int8")
    evil = "<script>alert('x')</script>\""
    document["model"]["path"] = evil
    for row in (*document["operators"], *document["tensors"]):
        row["name"] = evil
    checker = Checker(page(document))
    assert not checker.named("script")
    assert evil in "".join(checker.text)


def test_a_model_without_planned_tensors_says_so():
    document = document_of("hello_world_int8")
    for row in document["tensors"]:
        row["offset"] = None
    assert "No tensor is planned." in page(document)


def test_fragment_is_for_notebooks():
    report = estimate(ALL["hello_world_int8"])
    text = report._repr_html_()
    assert text == fragment(report.to_dict())
    Checker(text)
    assert f"{report.arena['required_bytes']:,}" in text
