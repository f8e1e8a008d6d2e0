"""refmicro: the bit-exact, byte-exact reference of TensorFlow Lite Micro."""
