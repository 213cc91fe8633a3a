"""The compiler to native gates: passes, virtual frames, pulses, and the proof of the result."""
