"""BABILong: questions on facts that are spread over a long text (Kuratov et al. 2024).

    stories.py     stories of the kinds that bAbI has, made up
    babi.py        stories read from the published bAbI files
    task.py        the task, its options and its vocabulary

What stories are made of, and the text between their facts, is in ../stories/. Tokens are words.
Characters would make samples five times as long, and two cores have no time for them.
"""
