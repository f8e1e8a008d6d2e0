"""Where the rows of a convolution lie: a plain kernel reads them from the image as it is.

A row of the product is the patch that one output pixel sees: runs of neighbouring values, one for
each filter position, or fewer where positions join (`problem.Convolution.runs`). A tile of n rows
keeps n pixels' places; for each run it finds n pointers, into the image or, outside of it, to a run
of the input's zero point. No patch is copied.
"""

from __future__ import annotations

from refmicro.mema.kernels.plain_parts import Parts, function, loop
from refmicro.mema.kernels.text import indent
from refmicro.mema.problem import Convolution


class ConvolutionWriter:
    """Text that finds the inputs of a convolution's tiles."""

    def __init__(self, parts: Parts, problem: Convolution) -> None:
        self.parts = parts
        self.problem = problem
        self.pixel = f"struct {parts.name}_pixel"
        self.padded = problem.is_inside != (True, True)

    def functions(self) -> list[str]:
        """The struct of a pixel's place, its successor, and the address of a run."""
        lines = [
            "/* Where the patch of an output pixel starts, in rows and columns of its image. */",
            f"{self.pixel} {{",
            f"    const {self.parts.value} *image;",
            "    int32_t top, left;",
            "};",
            "",
        ]
        return lines + self._padding() + self._next() + self._address()

    def _padding(self) -> list[str]:
        if not self.padded:
            return []
        used = self.parts.layout
        zero_point = str(self.parts.requantization.input_zero_point)
        values, per_line = [zero_point] * used.run, 16
        rows = [", ".join(values[i : i + per_line]) for i in range(0, used.run, per_line)]
        size = -(-used.run // 4) * 4
        return [
            "/* What lies outside of the image. */",
            f"static const union {{ {self.parts.value} values[{size}]; uint32_t aligned; }} "
            f"{self.parts.name}_padding = {{{{",
            *indent(f"{row}," for row in rows),
            "}};",
            "",
        ]

    def _next(self) -> list[str]:
        p = self.problem
        image = p.input_height * p.input_width * p.input_depth
        body = [
            f"pixel.left += {p.stride_width};",
            f"if (pixel.left == {p.output_width * p.stride_width - p.pad_width}) {{",
            f"    pixel.left = {-p.pad_width};",
            f"    pixel.top += {p.stride_height};",
        ]
        if p.images > 1:
            body += [
                f"    if (pixel.top == {p.output_height * p.stride_height - p.pad_height}) {{",
                f"        pixel.top = {-p.pad_height};",
                f"        pixel.image += {image};",
                "    }",
            ]
        body += ["}", "return pixel;"]
        name = f"{self.parts.name}_next"
        return function(f"static {self.pixel} {name}({self.pixel} pixel)", body)

    def _address(self) -> list[str]:
        p = self.problem
        body = ["const int32_t row = pixel.top + down, column = pixel.left + right;"]
        outside = []
        inside_height, inside_width = p.is_inside
        if not inside_height:
            outside.append(f"row < 0 || row >= {p.input_height}")
        if not inside_width:
            outside.append(f"column < 0 || column >= {p.input_width}")
        if outside:
            body += [
                f"if ({' || '.join(outside)}) {{",
                f"    const {self.parts.value} *padding = {self.parts.name}_padding.values;",
                "    MEMA_KEEP(padding);",
                "    return padding;",
                "}",
            ]
        body.append(f"return pixel.image + (row * {p.input_width} + column) * {p.input_depth};")
        head = f"static const {self.parts.value} *{self.parts.name}_at({self.pixel} pixel, "
        return function(f"{head}int32_t down, int32_t right)", body)

    def start(self) -> list[str]:
        """The first output pixel."""
        p = self.problem
        return [f"{self.pixel} next = {{input, {-p.pad_height}, {-p.pad_width}}};"]

    def next_rows(self, n: int) -> list[str]:
        """Places of the next n pixels."""
        lines = []
        for j in range(n):
            lines += [
                f"const {self.pixel} p{j} = next;",
                f"next = {self.parts.name}_next(next);",
            ]
        return lines

    def row_names(self, n: int) -> list[str]:
        """Arguments of a tile's function."""
        return [f"p{j}" for j in range(n)]

    def row_parameters(self, n: int) -> list[tuple[str, str]]:
        """Parameters of a tile's function: (type, name)."""
        return [(f"{self.pixel} ", f"p{j}") for j in range(n)]

    def taps(self, n: int, run: list[str]) -> list[str]:
        """Loops over runs around the text of one, with pointers x0 ... for its rows."""
        p = self.problem
        down, across = p.runs
        place = [
            "0" if down == 1 else _times("i", p.dilation_height),
            "0" if across == 1 else _times("j", p.dilation_width),
        ]
        at = f"{self.parts.name}_at"
        body = [
            f"const {self.parts.value} *x{j} = {at}(p{j}, {', '.join(place)});" for j in range(n)
        ]
        body += run
        if across > 1:
            body = _count("j", across, body)
        return _count("i", down, body) if down > 1 else loop(1, "", body) if across == 1 else body


def _times(name: str, factor: int) -> str:
    return name if factor == 1 else f"{name} * {factor}"


def _count(name: str, end: int, body: list[str]) -> list[str]:
    return [f"for (int32_t {name} = 0; {name} < {end}; ++{name}) {{", *indent(body), "}"]
