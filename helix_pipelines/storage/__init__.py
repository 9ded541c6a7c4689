"""The database: tables, migrations, transactions, the ledger and the queue."""
