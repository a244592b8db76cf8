"""Exact answers by another road, slow and certain: what the fast solvers and the objectives are tested
against.

cvxpy and POT are imported here and nowhere else; import the module you need, for each of them takes about a
second to load.
"""
