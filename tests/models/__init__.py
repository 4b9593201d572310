"""Slow, obvious models of what the engine must give; they share no code with it."""
