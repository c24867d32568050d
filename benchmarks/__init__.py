"""Measurements that anyone can repeat: ``python -m benchmarks sampling|training|loader|growth|guidance``.

A subject is a module of this folder and a :class:`benchmarks.subject.Subject` in ``__main__``: its flags, its records,
how a record is printed and what is drawn. Clocks, turns and tables are in ``measure``, what the machine can do is
measured in ``ceilings``, and what must be done at least is counted in ``arithmetic``.
"""
