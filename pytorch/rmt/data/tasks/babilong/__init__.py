"""BABILong: questions on facts that are spread over a long text (Kuratov et al. 2024).

    stories.py     a story: its facts, the question and the answer; and one that makes them up
    babi.py        stories read from the published bAbI files
    background.py  the text between the facts, sentence by sentence
    samples.py     a story in a text of exactly so many tokens
    task.py        the task, its options and its vocabulary

Tokens are words. Characters would make samples five times as long, and two cores have no time for
them.
"""
