"""Dead letters after the fact: chosen, put back on their topics, or dropped; each decided once."""
