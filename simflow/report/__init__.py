"""A report on trained runs that is one HTML file.

``gather`` reads what the folder of a run holds and ``page`` lays it out. The command is ``simflow report``.
"""
