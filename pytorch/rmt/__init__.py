"""Recurrent Memory Transformer on the Transformer-XL backbone.

Source: Bulatov, Kuratov, Burtsev, "Recurrent Memory Transformer", NeurIPS 2022.
"""
