"""Protocols beside APIv3 and the logins: each file adds its own paths by `attach(app, world)`."""
