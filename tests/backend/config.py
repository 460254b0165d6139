"""Configuration that openeo-driver executes when it starts."""

from openeo_driver.config import OpenEoBackendConfig

PASSWORD = "{user}123"
"""Any user is let in who knows this; nothing here is worth protecting."""

# the largest request, 2 MiB, is the front-end's own default
config = OpenEoBackendConfig(
    id="openeo-superres-tests",
    capabilities_title="openeo-superres test back-end",
    capabilities_description="The API front-end of openeo-driver over an emulation of GeoTrellis' chunking.",
    enable_basic_auth=True,
    valid_basic_auth=lambda user, password: password == PASSWORD.format(user=user),
)
