"""Studies: named sets of recipes, trained and judged alike over several seeds, and what a paper says of their order."""
