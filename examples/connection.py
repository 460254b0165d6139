"""What the examples share: the options that every one has, and the connection they describe."""

from __future__ import annotations

import argparse
from pathlib import Path

import openeo

CDSE = "https://openeo.dataspace.copernicus.eu"
AREA = {"west": 435740, "south": 4160000, "east": 440860, "north": 4165120, "crs": 32618}
"""Coast of Virginia: in the UTM zone of the products and on multiples of 20 m, so that no sample moves."""
SUMMER = ["2016-08-01", "2016-09-01"]


def command_line(description: str) -> argparse.ArgumentParser:
    """Options of an example, to be added to; its description is a module's docstring."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=form)
    parser.add_argument("backend", nargs="?", default=CDSE, help=f"URL of a back-end; default: {CDSE}")
    parser.add_argument("--user", help="name, for a back-end with passwords; without it log in by browser")
    parser.add_argument("--password")
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder to download into")
    return parser


def connect(options: argparse.Namespace) -> openeo.Connection:
    """Connect and log in."""
    connection = openeo.connect(options.backend)
    if options.user:
        return connection.authenticate_basic(options.user, options.password)
    # prints a link to open in a browser; later runs find the token that it leaves
    return connection.authenticate_oidc()
