"""The functions of plain kernels: a register tile in each loop order, and the walk over tiles."""

from __future__ import annotations

from refmicro.mema.cost import Order
from refmicro.mema.kernel import prototype
from refmicro.mema.kernels.plain_gather import ConvolutionWriter
from refmicro.mema.kernels.plain_parts import Parts, function, loop
from refmicro.mema.registers import ratio


def write_kernel(parts: Parts, gather: ConvolutionWriter | None) -> list[str]:
    """The whole text; `gather` knows where a convolution's rows lie, None for a product."""
    lines = parts.head()
    if parts.schedule.order is Order.WEIGHT:
        return lines + _weight_kernel(parts)
    if parts.schedule.order is Order.INPUT:
        return lines + _input_kernel(parts)
    return lines + _output_kernel(parts, gather)


def _edges(size: int, width: int) -> list[int]:
    """Widths of the tiles that cover `size`: the whole one, and the one at the edge."""
    return sorted({min(width, size), size % width} - {0}, reverse=True)


def _arguments(parts: Parts, first: list[tuple[str, str]]) -> tuple[str, str]:
    """(parameters, arguments) of a tile's function: input, filter, parameters, output."""
    found = [*first, ("const int8_t *", "f")]
    found += [(kind, name) for kind, name, _ in parts.parameters]
    found.append((f"{parts.value} *", "y"))
    return ", ".join(kind + name for kind, name in found), ", ".join(name for _, name in found)


def _starts(parts: Parts) -> list[str]:
    """Pointers to the weights at the start of a kernel."""
    lines = ["const int8_t *f = w->filter;"]
    return lines + [f"{kind}{name} = w->{name};" for kind, name, _ in parts.parameters]


def _advance(parts: Parts, m: int, filter_values: int) -> list[str]:
    """Pointers to the next m channels."""
    lines = [f"f += {filter_values};"]
    return lines + [f"{name} += {m * count};" for _, name, count in parts.parameters]


def _kernel(parts: Parts, body: list[str]) -> list[str]:
    return function(prototype(parts.name, parts.problem.input_bits), body)[:-1]


# Stationary outputs.


def _output_kernel(parts: Parts, gather: ConvolutionWriter | None) -> list[str]:
    used, tile = parts.layout, parts.schedule.tile
    lines = gather.functions() if gather else []
    for m in _edges(used.channels, tile.m):
        for n in _edges(used.rows, tile.n):
            lines += _output_tile(parts, gather, m, n)
    whole, rest = divmod(used.channels, tile.m)
    walk = [*_rows(parts, gather, tile.m, tile.n)]
    walk += [*_advance(parts, tile.m, _tile_values(parts, tile.m)), f"output += {tile.m};"]
    body = _starts(parts) + loop(whole, "tile", walk)
    body += loop(1 if rest else 0, "", _rows(parts, gather, rest, tile.n))
    return lines + _kernel(parts, body)


def _tile_values(parts: Parts, m: int) -> int:
    """Filter values of m channels as they are packed."""
    used = parts.layout
    if parts.schedule.order is Order.OUTER:
        return used.runs * used.run * -(-m // used.filter_values) * used.filter_values
    return m * used.filter_words * used.filter_values


def _rows(parts: Parts, gather: ConvolutionWriter | None, m: int, n: int) -> list[str]:
    """All rows of one tile of channels."""
    used = parts.layout
    whole, rest = divmod(used.rows, n)
    if gather:
        lines = gather.start()
        before, names = gather.next_rows, gather.row_names
        after: list[str] = []
    else:
        lines = [f"const {parts.value} *x = input;"]
        before, names = (lambda _: []), (lambda _: ["x"])
        after = [f"x += {n * parts.problem.accum_depth};"]
    lines.append(f"{parts.value} *y = output;")

    def tile(width: int) -> list[str]:
        values = [*names(width), "f", *(name for _, name, _ in parts.parameters), "y"]
        return [*before(width), f"{parts.name}_{m}x{width}({', '.join(values)});"]

    lines += loop(whole, "rows", [*tile(n), *after, f"y += {n * used.channels};"])
    return lines + (loop(1, "", tile(rest)) if rest and gather else tile(rest) if rest else [])


def _output_tile(parts: Parts, gather: ConvolutionWriter | None, m: int, n: int) -> list[str]:
    """The function of one tile: sums over the whole depth, then outputs."""
    first = gather.row_parameters(n) if gather else [(f"const {parts.value} *", "x")]
    parameters, _ = _arguments(parts, first)
    body = []
    for i in range(m):
        body.append(f"{parts.sum_type} s{i}_0 = {parts.bias(i)};")
        body += [f"{parts.sum_type} s{i}_{j} = s{i}_0;" for j in range(1, n)]
    run = _outer_run if parts.schedule.order is Order.OUTER else _inner_run
    if gather:
        pointers = [f"x{j}" for j in range(n)]
        body += gather.taps(n, run(parts, m, [(pointer, 0) for pointer in pointers]))
    else:
        body += run(parts, m, [("x", j * parts.layout.run) for j in range(n)])
    body += parts.finish(m, n)
    return function(f"static void {parts.name}_{m}x{n}({parameters})", body)


def _moves(rows: list[tuple[str, int]], values: int) -> list[str]:
    return [f"{pointer} += {values};" for pointer in sorted({pointer for pointer, _ in rows})]


def _inner_run(parts: Parts, m: int, rows: list[tuple[str, int]]) -> list[str]:
    """One run, a filter word of each channel a step; rows are (pointer, offset)."""
    used = parts.layout
    steps, rest = divmod(used.run, used.filter_values)
    # Pointers to inputs end where the run does, so that only what follows moves them.
    more = bool(rest) or steps > 1
    body = _inner_step(parts, m, rows, used.filter_values)
    body += _moves(rows, used.filter_values) if more else []
    lines = loop(steps, "step", [*body, f"f += {m * used.filter_values};"])
    if rest:
        move = [f"f += {m * used.filter_values};"] if used.runs > 1 else []
        lines += loop(1, "", [*_inner_step(parts, m, rows, rest), *move])
    return lines


def _inner_step(parts: Parts, m: int, rows: list[tuple[str, int]], count: int) -> list[str]:
    """`count` products of each sum; the side with fewer words is held, the other streams past."""
    used, n = parts.layout, len(rows)
    loads = {}
    for j, (pointer, offset) in enumerate(rows):
        for word, at in enumerate(parts.step_words(count)):
            loads[j, word] = f"{parts.input_type} x{j}_{word} = " + parts.input_load(
                pointer, offset + at, count
            )
    filters = [
        f"{parts.filter_type} f{i} = {parts.filter_load(used.filter_values * i, count)};"
        for i in range(m)
    ]
    if n * ratio(used) <= m:
        lines = [f"{load};" for load in loads.values()]
        for i, load in enumerate(filters):
            lines.append(load)
            lines += [parts.product(f"s{i}_{j}", f"f{i}", f"x{j}_{w}", w) for j, w in loads]
            if i < m - 1:
                lines += parts.hold([f"x{j}_{w}" for j, w in loads], used.input_values)
        return lines
    lines = filters
    for number, ((j, w), load) in enumerate(loads.items()):
        lines.append(f"{load};")
        lines += [parts.product(f"s{i}_{j}", f"f{i}", f"x{j}_{w}", w) for i in range(m)]
        if number < len(loads) - 1:
            lines += parts.hold([f"f{i}" for i in range(m)], used.filter_values)
    return lines


def _outer_run(parts: Parts, m: int, rows: list[tuple[str, int]]) -> list[str]:
    """One run, a value of each row and a word of neighbouring channels a step."""
    values = parts.layout.filter_values
    body = []
    for j, (pointer, offset) in enumerate(rows):
        load = parts.value_load(pointer, offset, parts.problem.input_bits)
        body.append(f"const int32_t x{j}_0 = {load};")
    for word in range(-(-m // values)):
        load = parts.filter_load(values * word, values)
        body.append(f"const {parts.filter_type} f{word} = {load};")
    for i in range(m):
        f = f"mema_byte(f{i // values}, {i % values})" if values > 1 else f"f{i}"
        body += [parts.add(f"s{i}_{j}", f"{f} * x{j}_0") for j in range(len(rows))]
    body += [*_moves(rows, 1), f"f += {-(-m // values) * values};"]
    return loop(parts.layout.run, "step", body)


# Stationary weights and inputs: the depth is unrolled.


def _depth_steps(parts: Parts) -> list[tuple[int, int, list[int]]]:
    """(filter word, values of the step, where its input words start) along a product's run."""
    used = parts.layout
    found = []
    for step, at in enumerate(range(0, used.run, used.filter_values)):
        count = min(used.filter_values, used.run - at)
        found.append((step, count, [at + start for start in parts.step_words(count)]))
    return found


def _weight_kernel(parts: Parts) -> list[str]:
    used, m = parts.layout, parts.schedule.tile.m
    lines = []
    for width in _edges(used.channels, m):
        lines += _weight_tile(parts, width)
    names = ", ".join(["input", "f", *(name for _, name, _ in parts.parameters), "output"])
    whole, rest = divmod(used.channels, m)
    walk = [f"{parts.name}_{m}({names});", *_advance(parts, m, _tile_values(parts, m))]
    body = _starts(parts) + loop(whole, "tile", [*walk, f"output += {m};"])
    if rest:
        body.append(f"{parts.name}_{rest}({names});")
    return lines + _kernel(parts, body)


def _weight_tile(parts: Parts, m: int) -> list[str]:
    """m channels' weights stay, all rows pass."""
    used, steps = parts.layout, _depth_steps(parts)
    body = []
    for i in range(m):
        body.append(f"const {parts.sum_type} bias{i} = {parts.bias(i)};")
        body += parts.scales(i)
    for step, count, _ in steps:
        for i in range(m):
            load = parts.filter_load((step * m + i) * used.filter_values, count)
            body.append(f"{parts.filter_type} f{i}_{step} = {load};")
    held = [f"f{i}_{step}" for step, _, _ in steps for i in range(m)]
    row = parts.hold(held, used.filter_values)
    row += [f"{parts.sum_type} s{i}_0 = bias{i};" for i in range(m)]
    for step, count, starts in steps:
        for word, at in enumerate(starts):
            name = f"x{step}_{word}"
            row.append(f"const {parts.input_type} {name} = {parts.input_load('x', at, count)};")
            row += [parts.product(f"s{i}_0", f"f{i}_{step}", name, word) for i in range(m)]
    for i in range(m):
        row += [*parts.outputs(i, 1), *parts.stores(i, m, 1)]
    row += [f"x += {parts.problem.accum_depth};", f"y += {used.channels};"]
    parameters, _ = _arguments(parts, [(f"const {parts.value} *", "x")])
    head = f"static void {parts.name}_{m}({parameters})"
    return function(head, body + loop(used.rows, "rows", row))


def _input_kernel(parts: Parts) -> list[str]:
    used, n = parts.layout, parts.schedule.tile.n
    lines = []
    for width in _edges(used.rows, n):
        lines += _input_tile(parts, width)
    names = ", ".join(["input", "f", *(name for _, name, _ in parts.parameters), "output"])
    whole, rest = divmod(used.rows, n)
    walk = [
        f"{parts.name}_{n}({names});",
        f"input += {n * parts.problem.accum_depth};",
        f"output += {n * used.channels};",
    ]
    body = _starts(parts) + loop(whole, "tile", walk)
    if rest:
        body.append(f"{parts.name}_{rest}({names});")
    return lines + _kernel(parts, body)


def _input_tile(parts: Parts, n: int) -> list[str]:
    """n rows stay, all channels pass, as many at a time as an output word holds."""
    used, m, steps = parts.layout, parts.schedule.tile.m, _depth_steps(parts)
    body, held = [], []
    for j in range(n):
        for step, count, starts in steps:
            for word, at in enumerate(starts):
                load = parts.input_load("x", j * used.run + at, count)
                body.append(f"{parts.input_type} x{j}_{step}_{word} = {load};")
                held.append(f"x{j}_{step}_{word}")

    def channels(width: int) -> list[str]:
        lines = []
        for i in range(width):
            lines += parts.hold(held, used.input_values)
            lines.append(f"{parts.sum_type} s{i}_0 = {parts.bias(i)};")
            lines += [f"{parts.sum_type} s{i}_{j} = s{i}_0;" for j in range(1, n)]
            for step, count, starts in steps:
                load = parts.filter_load((i * len(steps) + step) * used.filter_values, count)
                lines.append(f"const {parts.filter_type} f{i}_{step} = {load};")
                for j in range(n):
                    for word in range(len(starts)):
                        name = f"x{j}_{step}_{word}"
                        lines.append(parts.product(f"s{i}_{j}", f"f{i}_{step}", name, word))
            lines += [*parts.scales(i), *parts.outputs(i, n), *parts.stores(i, width, n)]
        return lines

    whole, rest = divmod(used.channels, m)
    walk = [*channels(m), *_advance(parts, m, m * len(steps) * used.filter_values), f"y += {m};"]
    body += loop(whole, "channels", walk) + loop(1 if rest else 0, "", channels(rest))
    parameters, _ = _arguments(parts, [(f"const {parts.value} *", "x")])
    return function(f"static void {parts.name}_{n}({parameters})", body)
