"""The cost model, schedules and kernels."""
