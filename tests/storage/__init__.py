"""Tests of `qjax.storage`."""
