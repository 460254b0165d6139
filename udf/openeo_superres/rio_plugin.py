"""The command ``run`` as one of rasterio's: ``rio superres SOURCE... OUTPUT``.

rasterio imports the plugins of every package whatever is called, so this imports nothing of ours before its
turn.
"""

from __future__ import annotations

import warnings
from typing import Any

import click


class _Mistake(click.ClickException):
    """A user's mistake, with the exit status that ``openeo-superres`` gives it."""

    exit_code = 2


class _RioCommand(click.Command):
    """A command that becomes ``openeo-superres run`` when called, and ends in one line where that does."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Take the arguments and options of ``run``: see :meth:`click.Command.make_context`."""
        from .products import run  # noqa: PLC0415

        self.callback, self.params, self.help = run.callback, run.params, run.help
        return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it within rasterio's environment: see :meth:`click.Command.invoke`."""
        import rasterio  # noqa: PLC0415

        from .console import complain, reason  # noqa: PLC0415
        from .udf import SuperresError  # noqa: PLC0415

        try:
            with rasterio.Env(), warnings.catch_warnings():  # type: ignore[no-untyped-call]
                warnings.showwarning = lambda message, *_, **__: complain("Warning", message)
                return super().invoke(ctx)
        except (SuperresError, OSError, MemoryError) as error:
            raise _Mistake(reason(error)) from error


superres = _RioCommand("superres", short_help="Super-resolve Sentinel-2 to 5 m.")
