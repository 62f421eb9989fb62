"""The paper's five models on the Transformer-XL backbone, and all that is their own."""
