"""Loops written in C for CPUs, where calling an operation costs more than the operation."""
