"""Freestanding C of a whole model."""
