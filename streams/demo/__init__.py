"""The demo: a broker, a real worker in its own process, traffic, and a count of what came out."""
