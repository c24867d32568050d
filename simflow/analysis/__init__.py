"""Looking into a trained run: its latents, their noise, and what guidance does to samples.

``analyze`` finds things out and ``record`` keeps them in a folder. The command is ``simflow analyze``.
"""
