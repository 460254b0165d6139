"""Models to compare, as command lines take them: shipped ones and experiments."""

from openeo_superres.evaluate.models import labelled, predictor

__all__ = ["HELP", "labelled", "predictor"]

HELP = "shipped models or cards (.json); LABEL=CARD gives one a label of its own"
