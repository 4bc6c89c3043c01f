"""The version of this release, as the API's document and the workers' rows state it."""

VERSION = "0.1.0"
