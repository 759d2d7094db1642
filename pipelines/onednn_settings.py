"""How oneDNN, which does TensorFlow's products on x86 processors, deals with batches of many shapes.

It compiles a product for each shape and keeps the last 1,024 of them. Batches as long as their longest history have
more, and those it has forgotten are compiled anew. Both settings are read when TensorFlow is loaded; what the
environment says already stays.

Source: https://oneapi-src.github.io/oneDNN/v3.0/dev_guide_primitive_cache.html
"""

from __future__ import annotations

import os
import sys

# Beyond what training on Amazon Beauty makes; all of them take some 0.4 GB there.
KEPT_PRODUCTS = 16384


def keep_compiled_products() -> None:
    """Let oneDNN keep the products of all shapes that training meets. Without effect once TensorFlow is loaded.

    Example:
        >>> keep_compiled_products()
    """
    _set("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KEPT_PRODUCTS))


def compile_no_products() -> None:
    """Leave products to TensorFlow's own code: the small ones of a server's requests are not worth compiling.

    Without effect once TensorFlow is loaded.

    Example:
        >>> compile_no_products()
    """
    _set("TF_ENABLE_ONEDNN_OPTS", "0")


def _set(name: str, value: str) -> None:
    # Set too late it would only change what the processes do that this one starts.
    if "tensorflow" not in sys.modules:
        os.environ.setdefault(name, value)
