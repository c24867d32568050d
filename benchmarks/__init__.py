"""Measurements that anyone can repeat: ``python -m benchmarks sampling|training|guidance``."""
