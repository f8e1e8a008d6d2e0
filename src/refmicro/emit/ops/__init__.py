"""One file an operator: how a prepared operator becomes constants, C functions and calls."""
