"""Keras callbacks that watch a training: the augmenter, TensorBoard and planted noise."""
