"""Tests of `qjax.nn`."""
