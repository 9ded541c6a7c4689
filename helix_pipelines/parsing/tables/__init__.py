"""Readers of formats with rows and columns: delimited text, workbooks, Parquet."""
