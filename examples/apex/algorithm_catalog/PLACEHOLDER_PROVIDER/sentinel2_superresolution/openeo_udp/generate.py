"""Write the openEO process definition beside this file; needs no back-end.

Where openeo-superres is installed: python generate.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openeo_superres

MODEL = "edsr_4x32"
"""By name, so that another default model does not change a published service."""
PROCESS = "sentinel2_superresolution"
DESTINATION = Path(__file__).with_name(f"{PROCESS}.json")


def generate() -> dict[str, Any]:
    """Define the process: UDF, weights, overlap and job options are literals in it."""
    return openeo_superres.build_process(MODEL, process_id=PROCESS)


if __name__ == "__main__":
    DESTINATION.write_text(json.dumps(generate(), indent=2) + "\n", encoding="utf-8")
    print(DESTINATION)
