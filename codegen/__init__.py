"""The generator: raw extracts to the catalog's data files, the catalog to the client's modules. Not shipped."""
