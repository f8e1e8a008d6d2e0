"""Boards: what they are, programs for them, and how refmicro talks to them."""
