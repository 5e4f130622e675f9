"""Operators: what a task of a DAG does."""
