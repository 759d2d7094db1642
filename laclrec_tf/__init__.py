"""LACLRec: sequential recommendation with a learned augmenter, in Keras and TensorFlow.

The paper is arXiv 2503.20232. Start reading at `laclrec_tf.models.laclrec`.
"""

__version__ = "0.1.0"
