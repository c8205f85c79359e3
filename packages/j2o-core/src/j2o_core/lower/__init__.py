"""Lower: one rule per equation of the jaxpr builds the graph."""
