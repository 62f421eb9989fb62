"""Language models that read text segment by segment: contract.py says what all of them offer."""
