"""Matrix products with the fewest memory accesses: cost model, schedule and C kernels."""
