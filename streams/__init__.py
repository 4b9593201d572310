"""leidan (累单): cumulative-order rewards from an order log."""

__version__ = "0.1.0"
