"""Boards: what they are, and later how refmicro talks to them."""
