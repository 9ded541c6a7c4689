"""First stage: files are found, fingerprinted, stored by content and sealed into import batches."""
