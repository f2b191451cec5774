"""This package shows runs in a browser, live and without writing anything: pages, queries over the ledger, what if."""
