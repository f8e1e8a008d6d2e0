"""`refmicro train`: from data to a model that TFLM runs, and what each choice costs."""

from __future__ import annotations

import argparse
import importlib

RECIPES = {
    "kws-mamba": ("refmicro.cli._train_kws", "keyword spotting with Mamba"),
    "localisation": (
        "refmicro.cli._train_localisation",
        "indoor localisation with a transformer and with Mamba",
    ),
}
"""Module and one line of help, by name."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    recipes = parser.add_subparsers(metavar="RECIPE", title="recipes", required=True)
    for name, (module, text) in RECIPES.items():
        child = recipes.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        importlib.import_module(module).configure(child)
