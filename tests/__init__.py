"""Tests; importable as `tests.*` so that oracles and models can be shared."""
