"""How long the stages of the pipeline take, beside what users could pick instead.

Every row of the table is measured in a process of its own: neither memory nor compiled programs
leak from one to the next. A module of `stages/` is a suite, and its `CASES` are that suite's rows.
"""
