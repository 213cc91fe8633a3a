"""Tests of `qjax.cli`."""
