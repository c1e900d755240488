"""rxotlp."""
