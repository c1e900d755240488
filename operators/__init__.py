"""The operators, one file each; imported as `rxotlp.operators`."""
