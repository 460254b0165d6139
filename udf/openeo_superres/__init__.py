"""Super-resolution of Sentinel-2 for openEO: ten bands in, the same ten bands at 5 m out."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .card import DEFAULT_MODEL, ModelCard, list_models, load_card
from .errors import SuperresError
from .local import superresolve_local
from .process import build_process, job_options, load_sentinel2, save_options, superresolve

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    """Import what needs the extra ``cli`` (rasterio) when it is first asked for."""
    if name != "superresolve_scene":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .raster import superresolve_scene  # noqa: PLC0415

    return superresolve_scene
