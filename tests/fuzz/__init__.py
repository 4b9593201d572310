"""Fuzzing of every decoder: `python -m tests.fuzz --help`, and a short run inside the tests."""
