"""Tests of `qjax.train`."""
