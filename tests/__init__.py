"""Tests of qjax."""
