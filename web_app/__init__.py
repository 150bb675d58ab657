"""Serve an exported captioner: a page, an HTTP API, and nothing that the library does already.

    python -m web_app captioner      # from a checkout
    imcap_serve captioner            # installed: pip install '.[web]'
"""
