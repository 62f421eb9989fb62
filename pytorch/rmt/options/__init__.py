"""Options: what they are, how they are checked, and the command lines made of them."""
