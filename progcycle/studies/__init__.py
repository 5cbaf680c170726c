"""Studies: variants of a recipe with several seeds, each trained, measured and compared in a report."""
