"""Robust DPO on a log-linear class, exactly: Kullback-Leibler and Wasserstein balls, each with a
certificate.
"""
