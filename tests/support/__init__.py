"""What the tests share: the NumPy oracle, closed-form systems, Hypothesis strategies."""
