"""IonQ: native gates, compiler, client and emulator.

Bit order, turns and everything else that IonQ does its own way is converted here and nowhere else.
"""
