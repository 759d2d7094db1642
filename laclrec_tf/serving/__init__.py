"""From strings to recommendations: the exported SavedModel, its server and its clients.

Names are imported at first use, so that a client does not wait for TensorFlow; `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
