"""Readers of products: each finds the files of a scene, and says what their numbers mean."""
