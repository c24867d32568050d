"""Looking into trained runs: an analysis of latents, noise and guidance, and a report that is one HTML file.

``analyze`` finds things out and ``analysis`` keeps them in a folder; ``gather`` reads what the folder of a run holds
and ``page`` lays it out. The commands are ``simflow analyze`` and ``simflow report``.
"""
