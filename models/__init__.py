"""Shipped networks: ``<name>.onnx`` with its card ``<name>.json`` and its description ``<name>.md``."""
