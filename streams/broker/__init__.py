"""The embedded broker of D10: a Kafka for trying things, without a JVM or Docker."""
