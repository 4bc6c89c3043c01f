"""Use cases. What a service does, it does in whole transactions: nothing else in the house commits."""
