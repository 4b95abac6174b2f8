"""A managed-cache control plane with the Amazon ElastiCache API."""

__version__ = "0.1.0"
