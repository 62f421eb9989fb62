"""Text: a file for each dataset, and how text becomes ids."""
