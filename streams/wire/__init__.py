"""Bytes to domain events and back, one module per topic; the only place that knows JSON.

Every input module has `decode(record) -> event`, which returns or raises EventRejected. Bytes are
judged here once, so the kernel never meets a wrong type. Old schema versions are raised to the
current one here and nowhere else.
"""
