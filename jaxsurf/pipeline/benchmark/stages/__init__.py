"""The suites: each module holds `CASES`, the rows that it adds to the table, in order."""
