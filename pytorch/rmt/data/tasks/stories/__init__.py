"""What the tasks of facts in a long text share (babilong/, facts.py).

world.py       who and what is where, and sentences that tell it
background.py  the text between the facts, sentence by sentence
spreading.py   facts in a text of exactly so many tokens, piece by piece
language.py    sentences as ids: words, or tokens of a pretrained model
options.py     the options that these tasks have in common
"""
