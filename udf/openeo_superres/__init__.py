"""Super-resolution of Sentinel-2 for openEO: ten bands in, the same ten bands at 5 m out."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .card import DEFAULT_MODEL, ModelCard, list_models, load_card
    from .errors import SuperresError
    from .local import superresolve_local
    from .process import build_process, job_options, load_sentinel2, save_options, superresolve
    from .raster import superresolve_scene

__version__ = version("openeo-superres")

__all__ = [
    "DEFAULT_MODEL",
    "ModelCard",
    "SuperresError",
    "__version__",
    "build_process",
    "job_options",
    "list_models",
    "load_card",
    "load_sentinel2",
    "save_options",
    "superresolve",
    "superresolve_local",
    "superresolve_scene",
]

_HOMES = {
    "DEFAULT_MODEL": "card",
    "ModelCard": "card",
    "SuperresError": "errors",
    "build_process": "process",
    "job_options": "process",
    "list_models": "card",
    "load_card": "card",
    "load_sentinel2": "process",
    "save_options": "process",
    "superresolve": "process",
    "superresolve_local": "local",
    "superresolve_scene": "raster",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: rasterio may be missing, and ``rio`` need not wait for xarray and openeo."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
