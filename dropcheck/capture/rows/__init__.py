"""The functions behind the catalogue's rows: one call → one operation.

A row reads what the call says (arguments, shapes, the layer's attributes) and nothing else. A row may return None:
the result is then the first tensor argument under another name.
"""
