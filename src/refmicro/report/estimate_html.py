"""The estimate as a page: the memory plan as a picture, the operators as a table.

The page stands alone: no script, no font, no link. Colours follow the reader's light or dark theme.
"""

from __future__ import annotations

import html
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #667; --line: #ccd2da; --bg: #fff;
  --a: #3b6fb6; --b: #78a55a; --c: #c2803a; --d: #9460a8; --e: #b8505a; --f: #4d9ea3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --dim: #99a; --line: #3a4048;
  --bg: #16191d; --a: #6f9fe0; --b: #9ccb7b; --c: #e0a763; --d: #bd90cf; --e: #e0828b;
  --f: #7cc6cb; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--bg);
  max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2rem; }
p.dim, td.dim, figcaption { color: var(--dim); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .15rem .7rem .15rem 0; text-align: left; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; }
.scroll { overflow-x: auto; } figure { margin: 0; } svg { width: 100%; height: auto; }
svg text { fill: var(--ink); font: 11px system-ui, sans-serif; }
.axis { stroke: var(--line); } .bound { stroke: var(--e); stroke-dasharray: 4 3; }
.c0 { fill: var(--a); } .c1 { fill: var(--b); } .c2 { fill: var(--c); } .c3 { fill: var(--d); }
.c4 { fill: var(--e); } .c5 { fill: var(--f); }
rect.t { stroke: var(--bg); stroke-width: .5; fill-opacity: .8; } rect.t:hover { fill-opacity: 1; }
"""

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 1000, 420, 70, 30


def page(document: dict[str, Any]) -> str:
    """A whole HTML page for the contract's document of `estimate`."""
    title = html.escape(document["model"]["path"] or "model")
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>refmicro: {title}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{title}</h1>{_subtitle(document)}{_totals(document)}"
        f"<h2>Memory plan</h2>{_plan(document)}"
        f"<h2>Operators</h2>{_operators(document)}</body></html>\n"
    )


def fragment(document: dict[str, Any]) -> str:
    """The totals alone, for notebooks."""
    return f"<div>{_subtitle(document)}{_totals(document)}</div>"


def _subtitle(document: dict[str, Any]) -> str:
    model = document["model"]
    text = (
        f"{model['operators']} operators, {model['bytes']:,} bytes, ABI {document['abi']}, "
        f"{document['kernels']} kernels, TFLM {document['tflm']['wheel']}, "
        f"refmicro {document['refmicro']}"
    )
    return f"<p class='dim'>{html.escape(text)}</p>"


def _totals(document: dict[str, Any]) -> str:
    arena = document["arena"]
    rows = [
        ("arena required", arena["required_bytes"], "bytes, the smallest arena that works"),
        ("arena used", arena["used_bytes"], "bytes, what arena_used_bytes() will say"),
        ("head", arena["head_bytes"], "bytes of planned tensors"),
        ("live at one time", arena["lower_bound_bytes"], "bytes, no plan can need less"),
        ("tail", arena["tail_bytes"], "bytes of structures and state"),
        ("flash", document["flash"]["model_bytes"], "bytes, the model"),
        ("MACs", document["macs"], "in one invocation"),
    ]
    cells = "".join(
        f"<tr><th>{name}</th><td class='n'>{value:,}</td><td class='dim'>{note}</td></tr>"
        for name, value, note in rows
    )
    return f"<table>{cells}</table>"


def _plan(document: dict[str, Any]) -> str:
    """Tensors as boxes: time from left to right, offset from bottom to top."""
    tensors = [t for t in document["tensors"] if t["offset"] is not None and t["bytes"]]
    head = document["arena"]["head_bytes"]
    if not tensors or not head:
        return "<p>No tensor is planned.</p>"
    steps = 1 + max(t["last_time_used"] for t in tensors)
    x_unit = (_WIDTH - _LEFT) / steps
    y_unit = (_HEIGHT - _BOTTOM) / head

    def y_of(offset: int) -> float:
        return _HEIGHT - _BOTTOM - offset * y_unit

    boxes = []
    for number, tensor in enumerate(tensors):
        first, last = max(tensor["first_time_used"], 0), max(tensor["last_time_used"], 0)
        label = html.escape(
            f"{tensor['subgraph']}:{tensor['index']} {tensor['name']}, {tensor['bytes']:,} B at "
            f"{tensor['offset']:,}, steps {first} to {last}"
        )
        boxes.append(
            f"<rect class='t c{number % 6}' x='{_LEFT + first * x_unit:.2f}' "
            f"y='{y_of(tensor['offset'] + tensor['bytes']):.2f}' "
            f"width='{(last - first + 1) * x_unit:.2f}' "
            f"height='{tensor['bytes'] * y_unit:.2f}'><title>{label}</title></rect>"
        )
    bound = y_of(document["arena"]["lower_bound_bytes"])
    lines = "".join(
        f"<line class='axis' x1='{_LEFT}' x2='{_WIDTH}' y1='{y_of(v):.1f}' y2='{y_of(v):.1f}'/>"
        f"<text x='{_LEFT - 6}' y='{y_of(v) + 4:.1f}' text-anchor='end'>{v:,}</text>"
        for v in (0, head // 4, head // 2, 3 * head // 4, head)
    )
    return (
        f"<figure><svg viewBox='0 0 {_WIDTH} {_HEIGHT + 4}' role='img' "
        f"aria-label='memory plan'>{lines}{''.join(boxes)}"
        f"<line class='bound' x1='{_LEFT}' x2='{_WIDTH}' y1='{bound:.1f}' y2='{bound:.1f}'/>"
        f"<text x='{_LEFT}' y='{_HEIGHT - 8}'>step 0</text>"
        f"<text x='{_WIDTH}' y='{_HEIGHT - 8}' text-anchor='end'>step {steps - 1}</text></svg>"
        "<figcaption>Each box is a tensor at its offset for its lifetime; scratch buffers are not "
        "drawn. The dashed line is what must live at one time.</figcaption></figure>"
    )


def _operators(document: dict[str, Any]) -> str:
    columns = (
        "macs",
        "live_bytes",
        "scratch_bytes",
        "persistent_bytes",
        "read_bytes",
        "written_bytes",
    )
    head = "<tr><th>operator</th><th class='n'>runs</th>" + "".join(
        f"<th class='n'>{name.replace('_', ' ')}</th>" for name in columns
    )
    rows = "".join(
        f"<tr><td>{row['subgraph']}:{row['index']} {html.escape(row['name'])}</td>"
        f"<td class='n'>{'?' if row['executions'] is None else row['executions']}</td>"
        + "".join(f"<td class='n'>{row[name]:,}</td>" for name in columns)
        + "</tr>"
        for row in document["operators"]
    )
    return f"<div class='scroll'><table>{head}</tr>{rows}</table></div>"
