"""Reports for people: text and HTML made of the contract's dictionaries; knows nothing else."""
