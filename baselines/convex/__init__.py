"""Solvers that use CVXPY: verifiers and literal readings of the papers, never in a hot path.

This is the only package that imports cvxpy, and only when a solver runs.
"""
