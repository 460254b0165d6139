"""Training of the shipped networks (torch). Run from ``models/``: ``python -m training.train --help``."""
