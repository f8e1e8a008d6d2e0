"""C text of the kernels, one file a family of targets."""
