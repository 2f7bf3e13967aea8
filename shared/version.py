"""The version of Unspool. It stands here only: the package, the command line and the OpenAPI document read it."""

VERSION = "0.1.0"
