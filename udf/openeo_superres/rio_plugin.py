"""The command ``run`` as one of rasterio's: ``rio superres SOURCE... OUTPUT``."""

from __future__ import annotations

import warnings
from typing import Any

import click
import rasterio

from .console import complain, reason
from .products import run
from .udf import SuperresError


class _Mistake(click.ClickException):
    """A user's mistake, with the exit status that ``openeo-superres`` gives it."""

    exit_code = 2


class _RioCommand(click.Command):
    """A command that ends in one line where ``openeo-superres`` does."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it within rasterio's environment: see :meth:`click.Command.invoke`."""
        try:
            with rasterio.Env(), warnings.catch_warnings():  # type: ignore[no-untyped-call]
                warnings.showwarning = lambda message, *_, **__: complain("Warning", message)
                return super().invoke(ctx)
        except (SuperresError, OSError, MemoryError) as error:
            raise _Mistake(reason(error)) from error


superres = _RioCommand(
    "superres",
    callback=run.callback,
    params=run.params,
    help=run.help,
    short_help="Super-resolve Sentinel-2 to 5 m.",
)
"""The same arguments and options as ``openeo-superres run``."""
