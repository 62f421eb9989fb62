"""Running the paper again: plans, jobs, tables, figures, claims and pages from logged runs."""
