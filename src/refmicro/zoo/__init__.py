"""Models that refmicro trains: data, training, quantization, export, report.

TensorFlow is imported here alone, and only inside the functions that need it, so that the rest of
refmicro neither needs nor loads it (extra `train`).
"""
