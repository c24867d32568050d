"""Automatic plans: which way undoes each block of a trained flow fastest on this machine.

:func:`~simflow.plan.search.measure` finds a plan, :mod:`simflow.plan.stored` keeps it beside the weights.
"""
