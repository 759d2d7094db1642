"""Which events `prepare` keeps, in which order, and what it says about them."""
