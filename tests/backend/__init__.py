"""An openEO back-end on localhost: the real API front-end over an emulation of GeoTrellis' chunking.

The HTTP front-end (authentication, jobs, user-defined processes, evaluation of process graphs, error codes)
is openeo-driver, the one that the Copernicus Data Space Ecosystem runs. Beneath it an engine of xarray hands
chunks to User Defined Functions as GeoTrellis would, what it does wrong included. See
``python -m backend --help``.
"""
