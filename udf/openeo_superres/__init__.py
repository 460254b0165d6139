"""Super-resolution of Sentinel-2 for openEO: ten bands in, the same ten bands at 5 m out."""

from importlib.metadata import version

from .card import DEFAULT_MODEL, ModelCard, list_models, load_card
from .errors import SuperresError
from .local import superresolve_local

__version__ = version("openeo-superres")

__all__ = [
    "DEFAULT_MODEL",
    "ModelCard",
    "SuperresError",
    "__version__",
    "list_models",
    "load_card",
    "superresolve_local",
]
