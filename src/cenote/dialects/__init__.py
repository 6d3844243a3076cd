"""How each driver's connections are spoken to by the handle; each file is imported only when it is needed."""
