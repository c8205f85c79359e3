"""Recurrent operators: scans whose body is a gated cell.

_body    a scan's body as sums of products of items and states
_cells   the cells of LSTM, GRU and RNN in a body
_recurrent   the rewrite of the scan
"""
