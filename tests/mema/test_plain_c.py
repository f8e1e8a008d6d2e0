"""Kernels in C against TFLM's integers, compiled for this machine."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refmicro.mema.cost import Order, Tile, accesses
from refmicro.mema.kernel import Kernel, Requantization, generate, header
from refmicro.mema.kernels import plain_c
from refmicro.mema.layout import layout
from refmicro.mema.problem import Convolution, Matmul
from refmicro.mema.schedule import best_of_each_order
from refmicro.mema.target import TARGETS, Target, find_target
from tests.mema.problems import kernel_cases
from tests.mema.reference import (
    FLAGS,
    call,
    compile_host,
    needs_gcc,
    patches,
    product,
    random_case,
)

PLAIN = [target for target in TARGETS.values() if target.family == "plain"]

KernelCase = tuple[Matmul | Convolution, Requantization]


def check(cases: Sequence[tuple[KernelCase, Kernel]], folder: Path) -> None:
    """All kernels compute what TFLM's integers are."""
    library = compile_host([kernel for _, kernel in cases], folder)
    for seed, ((problem, used), kernel) in enumerate(cases):
        values, weights, bias, multipliers, shifts = random_case(problem, used, seed)
        rows = values
        if isinstance(problem, Convolution):
            rows = patches(values, problem, used.input_zero_point)
        flat = weights.reshape(len(weights), -1)
        want = product(rows, flat, bias, multipliers, shifts, used).reshape(-1)
        packed = kernel.pack(weights, bias, multipliers, shifts)
        got = call(library, kernel, packed, values, want.size)
        np.testing.assert_array_equal(got, want, err_msg=f"{problem} {used}")


@needs_gcc
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(kernel_cases(), st.sampled_from(PLAIN)), min_size=16, max_size=16))
def test_any_problem(
    tmp_path_factory: pytest.TempPathFactory, cases: list[tuple[KernelCase, Target]]
) -> None:
    kernels = [
        (case, generate(case[0], target, case[1], name=f"kernel_{i}"))
        for i, (case, target) in enumerate(cases)
    ]
    check(kernels, tmp_path_factory.mktemp("plain"))


@needs_gcc
@pytest.mark.parametrize("bits", [8, 16])
def test_every_loop_order(bits: int, tmp_path: Path) -> None:
    limit = 1 << (bits - 1)
    used = Requantization(5, -limit, limit - 9, 11 if bits == 8 else 0)
    cases, orders = [], set()
    for target in PLAIN:
        for sizes in ((9, 8, 7), (8, 3, 11), (6, 13, 5)):
            problem = Matmul(*sizes, input_bits=bits)
            for schedule in best_of_each_order(target, layout(problem, target)):
                name = f"kernel_{len(cases)}"
                make = plain_c.from_schedule
                cases.append(((problem, used), make(problem, target, used, name, schedule)))
                orders.add(schedule.order)
    assert orders == set(Order)
    check(cases, tmp_path)


def test_a_compiled_kernel_of_the_m4_has_a_tile_that_a_compiler_can_hold() -> None:
    problem, used = Matmul(16, 32, 8), Requantization()
    compiled = plain_c.generate(problem, find_target("cortex-m4"), used, "kernel")
    assert compiled.schedule == generate(problem, find_target("cortex-m3"), used).schedule
    assert "for cortex-m4" in compiled.text


@needs_gcc
def test_any_tile_computes_the_same(tmp_path: Path) -> None:
    """A schedule is a choice of speed: whatever its tile, outputs are the same."""
    problem, target, used = Matmul(7, 10, 6), find_target("cortex-m3"), Requantization(-4)
    derived = generate(problem, target, used).schedule
    cases = []
    for m in (1, 2, 3, 4, 7):
        for n in (1, 2, 4, 6):
            tile = Tile(m, n, derived.layout.steps)
            counted = accesses(derived.layout, Order.OUTPUT, tile)
            schedule = dataclasses.replace(derived, order=Order.OUTPUT, tile=tile, accesses=counted)
            kernel = plain_c.from_schedule(problem, target, used, f"kernel_{m}_{n}", schedule)
            cases.append(((problem, used), kernel))
    check(cases, tmp_path)


ALONE = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
    static uint8_t data[1 << 20];
    size_t size = fread(data, 1, sizeof data, stdin);
    int8_t *input = malloc(INPUT), *filter = malloc(FILTER), *shift = malloc(SHIFT);
    int32_t *bias = malloc(BIAS), *multiplier = malloc(MULTIPLIER);
    int8_t *output = malloc(OUTPUT);
    const uint8_t *next = data;
    if (size != INPUT + FILTER + BIAS + MULTIPLIER + SHIFT)
        return 2;
    memcpy(input, next, INPUT), next += INPUT;
    memcpy(filter, next, FILTER), next += FILTER;
    memcpy(bias, next, BIAS), next += BIAS;
    memcpy(multiplier, next, MULTIPLIER), next += MULTIPLIER;
    memcpy(shift, next, SHIFT);
    const struct mema_weights weights = {filter, bias, multiplier, shift};
    kernel((const void *)input, &weights, (void *)output);
    fwrite(output, 1, OUTPUT, stdout);
    free(input), free(filter), free(shift), free(bias), free(multiplier), free(output);
    return 0;
}
"""


ALIGNED = "#define MEMA_ALIGNED(pointer) __builtin_assume_aligned((pointer), 4)"

CHECKED = """
static inline void *checked(const void *pointer)
{
    if ((uintptr_t)pointer % 4 != 0)
        __builtin_trap();
    return (void *)(uintptr_t)pointer;
}
#define MEMA_ALIGNED(pointer) checked(pointer)
"""


def check_alone(
    problem: Matmul | Convolution, target: str, text: str, flags: Sequence[str], folder: Path
) -> None:
    """A kernel in a program of its own, with `text` as its header, computes what it must."""
    bits = problem.input_bits
    limit = 1 << (bits - 1)
    used = Requantization(1, -limit, limit - 1, 3 if bits == 8 else 0)
    kernel = generate(problem, find_target(target), used, name="kernel")
    values, weights, bias, multipliers, shifts = random_case(problem, used, 3)
    rows = values
    if isinstance(problem, Convolution):
        rows = patches(values, problem, used.input_zero_point)
    flat = weights.reshape(len(weights), -1)
    want = product(rows, flat, bias, multipliers, shifts, used)
    arrays = {"input": values, **kernel.pack(weights, bias, multipliers, shifts)}
    sizes = {name: array.nbytes for name, array in arrays.items()} | {"output": want.nbytes}
    source, program = folder / "kernel.c", folder / "kernel"
    source.write_text(text + kernel.text + ALONE)
    defines = [f"-D{name.upper()}={size}" for name, size in sizes.items()]
    command = ["gcc", *FLAGS, *flags, *defines, str(source), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    data = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    ran = subprocess.run([program], input=data, capture_output=True, timeout=20, check=False)
    assert (ran.returncode, ran.stdout) == (0, want.tobytes()), ran.stderr.decode()


@needs_gcc
@pytest.mark.parametrize(
    ("problem", "target"),
    [
        (Matmul(5, 23, 3), "cortex-m3"),
        (Matmul(6, 9, 5, input_bits=16), "cortex-m3"),
        (Matmul(6, 13, 5), "host"),
        (Convolution(1, 4, 5, 3, 5, 4, 5, 3, 3, pad_height=1, pad_width=1), "cortex-m3"),
        (Convolution(2, 4, 4, 2, 3, 2, 2, 3, 3, 2, 2, pad_width=1, input_bits=16), "rv32im"),
    ],
)
def test_sanitizers_find_nothing(
    problem: Matmul | Convolution, target: str, tmp_path: Path
) -> None:
    """Arrays end where allocations do: no byte beside an operand is touched."""
    checks = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    check_alone(problem, target, header(), checks, tmp_path)


@needs_gcc
@pytest.mark.parametrize("target", ["cortex-m0plus", "rv32im"])
@pytest.mark.parametrize("sizes", [(5, 8, 3), (8, 7, 2), (6, 10, 4)])
@pytest.mark.parametrize("bits", [8, 16])
def test_words_are_aligned_where_they_must_be(
    target: str, sizes: tuple[int, int, int], bits: int, tmp_path: Path
) -> None:
    """The emulators of these processors read words from anywhere; the processors do not."""
    assert ALIGNED in header()
    text = header().replace(ALIGNED, CHECKED)
    check_alone(Matmul(*sizes, input_bits=bits), target, text, (), tmp_path)


@needs_gcc
@pytest.mark.parametrize("wide", [False, True])
def test_extreme_multipliers_and_shifts(wide: bool, tmp_path: Path) -> None:
    """Every shift that TFLM takes, multipliers of 0 and at their ends, sums that wrap."""
    least, most = -31, 14 if wide else 30
    shifts = [shift for shift in range(least, most + 1) for _ in range(4)]
    multipliers = [0, 1 << 30, (1 << 31) - 1, 0x7FFF0000] * (most - least + 1)
    bits = 16 if wide else 8
    limit = 1 << (bits - 1)
    problem = Matmul(len(shifts), 5, 6, input_bits=bits)
    used = Requantization(7, -limit, limit - 1, wide=wide)
    kernel = generate(problem, find_target("cortex-m3"), used)
    random = np.random.default_rng(2)
    info = np.iinfo(np.int8 if bits == 8 else np.int16)
    values = random.integers(info.min, info.max, (6, 5), info.dtype, endpoint=True)
    weights = random.integers(-127, 127, (len(shifts), 5), np.int8, endpoint=True)
    # int8 sums may be anything in 32 bits; wide ones must fit them.
    bound = (1 << 31) - (1 if not wide else 1 << 26)
    bias = random.integers(-bound, bound, len(shifts))
    library = compile_host([kernel], tmp_path)
    packed = kernel.pack(weights, bias, multipliers, shifts)
    want = product(values, weights, bias, multipliers, shifts, used).reshape(-1)
    got = call(library, kernel, packed, values, want.size)
    np.testing.assert_array_equal(got, want)


def test_the_text_is_deterministic_and_says_what_it_accesses() -> None:
    problem, target = Matmul(16, 24, 8), find_target("cortex-m3")
    texts = {generate(problem, target, Requantization()).text for _ in range(2)}
    kernel = generate(problem, target, Requantization())
    assert texts == {kernel.text}
    assert kernel.prototype in kernel.text
    assert f"input {kernel.accesses.input_loads.count}, filter" in kernel.text
    assert f"{kernel.accesses.count} in all" in kernel.text
    assert max(map(len, kernel.text.splitlines())) <= 120
