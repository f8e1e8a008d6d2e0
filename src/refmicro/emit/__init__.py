"""Whole models as freestanding C99: `emit` makes the text, `proof` compiles and compares it."""
