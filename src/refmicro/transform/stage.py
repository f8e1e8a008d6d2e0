"""A model on its way through transforms: its parts, how they run as the source, what was done.

A step of the pipeline takes a `Stage` and gives the next one. `Stage.map` is for transforms that
keep a model's interface; a step that changes it gives its own `arrange` as well, composed with the
one before it where there may be one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from refmicro.bridge import CustomOp
from refmicro.model.graph import Model
from refmicro.transform.proof import Machine, Open, Seen

Facts = Mapping[str, Any]
"""What one step reports: plain values, ready for JSON; `transform` names the step."""

Arrange = Callable[[Sequence[Model], Open], Machine]
"""Gives a machine with the source's interface that runs these models, the stage's parts."""


Finish = Callable[[Sequence[Model]], Mapping[str, bytes]]
"""Gives further files by name that tell of the parts as they are at the end."""


@dataclass(frozen=True)
class Part:
    """One model of a result; `name` is its file's name without the ending."""

    name: str
    model: Model


def run_alone(models: Sequence[Model], open_model: Open) -> Machine:
    """The arrangement of a single part with the source's interface."""
    (model,) = models
    return open_model(model)


@dataclass(frozen=True)
class Stage:
    """What the steps so far have made of a source.

    Attributes:
        source: the model as it was read.
        parts: the models of the result, one unless a step cuts it.
        arrange: how the parts run so that they look like the source.
        facts: one entry a step, in order.
        files: further files by name, to lie beside the parts.
        custom_ops: operators of ours that TFLM needs for the parts, for the proof.
        changes_numbers: steps that changed numbers, because they were asked to.
        seen: how the source is looked at where the result has another interface, for the proof.
        finish: for files that depend on what later steps do to the parts; such a result lies in a
            folder even where it has one part.
    """

    source: Model
    parts: tuple[Part, ...]
    arrange: Arrange = run_alone
    facts: tuple[Facts, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    custom_ops: tuple[CustomOp, ...] = ()
    changes_numbers: tuple[str, ...] = ()
    seen: Seen | None = None
    finish: Finish | None = None

    @staticmethod
    def of(source: Model, name: str, custom_ops: tuple[CustomOp, ...] = ()) -> Stage:
        """The stage before the first step.

        Args:
            source: the model.
            name: the result's, see `Part`.
            custom_ops: operators of ours that the source has already.
        """
        return Stage(source, (Part(name, source),), custom_ops=custom_ops)

    @property
    def models(self) -> tuple[Model, ...]:
        """The parts' models."""
        return tuple(part.model for part in self.parts)

    def map(self, transform: Callable[[Model], tuple[Model, Facts]]) -> Stage:
        """The stage after a transform that keeps the interface, applied to every part."""
        parts, facts = [], []
        for part in self.parts:
            model, fact = transform(part.model)
            parts.append(Part(part.name, model))
            facts.append({**fact, "part": part.name} if len(self.parts) > 1 else fact)
        return dataclasses.replace(self, parts=tuple(parts), facts=(*self.facts, *facts))
