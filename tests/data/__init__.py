"""Tests of `qjax.data`."""
