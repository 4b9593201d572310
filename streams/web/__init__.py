"""The worker's web server: what this process can say of itself and of the users it owns."""
