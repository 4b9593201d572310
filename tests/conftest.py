"""Profiles for properties: `quick` repeats the same examples, `soak` looks for new ones."""

from __future__ import annotations

import os

import hypothesis

hypothesis.settings.register_profile("quick", max_examples=200, derandomize=True, deadline=None)
hypothesis.settings.register_profile("soak", max_examples=5_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("LEIDAN_HYPOTHESIS", "quick"))
