"""In which order an SMLAD kernel reads a problem's values: steps of four along the depth.

A step multiplies four values of a row by one packed word of four weights. Where the depth is not a
multiple of four, the last step starts earlier and overlaps the one before it, and the weights of
what is read twice are 0: nothing outside of a row is ever read, and nothing needs a mask.
"""

from __future__ import annotations

from dataclasses import dataclass

from refmicro.mema.problem import Convolution, Matmul

STEP = 4
"""Values of a step."""

LOOP_STEPS = 4
"""Steps of one turn of the depth loop."""


@dataclass(frozen=True)
class Step:
    """Four values of a run, read together.

    Attributes:
        offset_bytes: from the start of the run.
        values: index in the run for each of the four places, None where the weight is 0.
        loaded: how many values are loaded: 4, or all of a run of fewer.
    """

    offset_bytes: int
    values: tuple[int | None, ...]
    loaded: int


@dataclass(frozen=True)
class Frame:
    """A convolution's padding: the input rows of one output row, copied into rows on the stack.

    Attributes:
        rows: rows of the buffer, the filter's height.
        row_bytes: of one buffer row, a multiple of 4.
        left_bytes: of padding before the first value.
        copied_bytes: of one input row that are needed.
        input_row_bytes, input_rows: of the input.
        first_row: input row under the first filter row of output row 0, negative with padding.
        row_step: input rows from one output row to the next.
        dilation: input rows from one filter row to the next.
    """

    rows: int
    row_bytes: int
    left_bytes: int
    copied_bytes: int
    input_row_bytes: int
    input_rows: int
    first_row: int
    row_step: int
    dilation: int


@dataclass(frozen=True)
class Walk:
    """What lies where: rows of the product and the runs of values that one row consists of.

    Attributes:
        channels: M.
        value_bytes: 1 or 2, of inputs and outputs.
        runs, run: a row's K values are `runs` runs of `run` neighbouring values,
        run_bytes: and this far apart.
        rows, row_bytes: rows of one pass, and from one row to the next.
        passes, pass_bytes: passes of one image, and from the input of one pass to the next.
        images, image_bytes: images, and from one to the next.
        frame: how padding is done, None without.
    """

    channels: int
    value_bytes: int
    runs: int
    run: int
    run_bytes: int
    rows: int
    row_bytes: int
    passes: int = 1
    pass_bytes: int = 0
    images: int = 1
    image_bytes: int = 0
    frame: Frame | None = None

    @property
    def step_bytes(self) -> int:
        """Bytes of a whole step."""
        return STEP * self.value_bytes

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of one run."""
        if self.run < STEP:
            places = (*range(self.run), *[None] * (STEP - self.run))
            return (Step(0, places, self.run),)
        found = []
        for first in range(0, self.run, STEP):
            start = min(first, self.run - STEP)
            places = tuple(k if k >= first else None for k in range(start, start + STEP))
            found.append(Step(start * self.value_bytes, places, STEP))
        return tuple(found)

    @property
    def turns(self) -> int:
        """Turns of the depth loop; 0 where all steps are written out."""
        whole = self.run // STEP // LOOP_STEPS
        return whole if whole > 1 else 0

    @property
    def rest(self) -> tuple[Step, ...]:
        """The steps after the loop."""
        return self.steps[self.turns * LOOP_STEPS :]

    @property
    def widest(self) -> int:
        """Rows of the largest tile."""
        return min(self.rows, 4)

    @property
    def tile_channels(self) -> int:
        """Channels of a tile: with one row only, all eight sums belong to different channels."""
        return 8 if self.rows == 1 else 4

    @property
    def channel_tiles(self) -> list[int]:
        """Channels of each tile in the order in which the filter is packed."""
        whole, rest = divmod(self.channels, self.tile_channels)
        return [self.tile_channels] * whole + ([rest] if rest else [])

    @property
    def aligned(self) -> bool:
        """Whether every row and run starts at a multiple of 4 bytes, as the tensor does."""
        distances = (self.run_bytes, self.row_bytes, self.pass_bytes, self.image_bytes)
        return all(distance % 4 == 0 for distance in distances)


def pointer_bias(walk: Walk) -> int:
    """How far before its value a row pointer points: the depth loop moves it before it loads."""
    return walk.step_bytes if walk.turns else 0


def walk(problem: Matmul | Convolution) -> Walk | None:
    """How a problem is walked; None where no SMLAD kernel covers it.

    That is a filter of several rows whose columns are dilated: its runs lie apart in two ways.
    """
    if isinstance(problem, Matmul):
        size = problem.input_bytes
        depth = problem.accum_depth
        return Walk(problem.output_depth, size, 1, depth, 0, problem.rows, depth * size)
    dilated = problem.dilation_width != 1 and problem.filter_width != 1
    if dilated and problem.filter_height != 1:
        return None
    size = problem.matmul.input_bytes
    pixel = problem.input_depth * size
    line = problem.input_width * pixel
    frame = _frame(problem, size)
    common = {
        "channels": problem.output_depth,
        "value_bytes": size,
        "runs": problem.filter_width if dilated else problem.filter_height,
        "run": problem.input_depth * (1 if dilated else problem.filter_width),
        "images": problem.images,
        "image_bytes": problem.input_height * line,
        "frame": frame,
    }
    apart = frame.row_bytes if frame else problem.dilation_height * line
    if dilated:
        apart = problem.dilation_width * pixel
    common["run_bytes"] = apart if common["runs"] > 1 else 0
    if frame is None and problem.output_width == 1:
        # One column: the rows of the product are the rows of the image.
        return Walk(rows=problem.output_height, row_bytes=problem.stride_height * line, **common)
    return Walk(
        rows=problem.output_width,
        row_bytes=problem.stride_width * pixel,
        passes=problem.output_height,
        pass_bytes=0 if frame else problem.stride_height * line,
        **common,
    )


def _frame(problem: Convolution, size: int) -> Frame | None:
    """The padded rows; needed where the window leaves the image anywhere."""
    p = problem
    last_row = (p.output_height - 1) * p.stride_height - p.pad_height
    last_row += (p.filter_height - 1) * p.dilation_height
    width = (p.output_width - 1) * p.stride_width + (p.filter_width - 1) * p.dilation_width + 1
    outside = last_row >= p.input_height or width - p.pad_width > p.input_width
    if not (p.pad_height or p.pad_width or outside):
        return None
    pixel = p.input_depth * size
    copied = max(0, min(p.input_width, width - p.pad_width))
    return Frame(
        rows=p.filter_height,
        row_bytes=-(-max(width, p.pad_width + copied) * pixel // 4) * 4,
        left_bytes=p.pad_width * pixel,
        copied_bytes=copied * pixel,
        input_row_bytes=p.input_width * pixel,
        input_rows=p.input_height,
        first_row=-p.pad_height,
        row_step=p.stride_height,
        dilation=p.dilation_height,
    )
